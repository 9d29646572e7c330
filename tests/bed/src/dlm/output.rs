//! What is kept of a script's output.

/// Characters of `StandardOutputContent`.
pub const STDOUT_LIMIT: usize = 24_000;
/// Characters of `StandardErrorContent`.
pub const STDERR_LIMIT: usize = 8_000;
/// Characters of the combined output that most readers see.
pub const OUTPUT_LIMIT: usize = 2_500;

/// The first `limit` characters.
pub(super) fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

/// Both streams as a reader of the command sees them.
pub(super) fn combined(stdout: &str, stderr: &str) -> String {
    let text = if stderr.is_empty() {
        stdout.to_owned()
    } else {
        format!("{stdout}\n----------ERROR-------\n{stderr}")
    };
    cut(&text, OUTPUT_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_by_characters_not_in_the_middle_of_one() {
        assert_eq!(cut("äöü", 2), "äö");
    }

    #[test]
    fn the_first_characters_of_stdout_are_what_a_reader_sees() {
        let shown = combined(&"a".repeat(3_000), "broken");
        assert_eq!(shown, "a".repeat(2_500));
        assert!(combined("a", "broken").ends_with("broken"));
    }
}
