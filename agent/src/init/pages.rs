//! What the pages of `docs/hooks` say: the users that hooks need, and the tables of the samples. They are read from the
//! pages themselves, so that a file of `init` never says something else.

/// The lines of the section whose heading speaks of a user or a role, as they may stand in a comment: without fences, and
/// code moved in.
pub(super) fn user_section(page: &str) -> Vec<String> {
    let is_user =
        |heading: &str| heading.contains("User") || heading.contains("user") || heading.contains("role");
    let mut lines = page.lines().skip_while(|line| !(line.starts_with("## ") && is_user(line))).skip(1);
    let mut in_code = false;
    let mut section = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.starts_with("## ")) {
        if line.starts_with("```") {
            in_code = !in_code;
        } else {
            section.push(if in_code { format!("    {line}") } else { line.to_owned() });
        }
    }
    while section.last().is_some_and(|line| line.trim().is_empty()) {
        section.pop();
    }
    section.into_iter().skip_while(String::is_empty).collect()
}

/// The first table of settings of a page.
pub(super) fn table(page: &str) -> Vec<String> {
    let after = page.lines().skip_while(|line| *line != "```toml").skip(1);
    after.take_while(|line| !line.starts_with("```")).map(str::to_owned).collect()
}
