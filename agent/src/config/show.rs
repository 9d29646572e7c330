//! The effective settings, as TOML that could be a file of `conf.d`, and as JSON.

use serde_json::{Value, json};

use super::Loaded;
use super::origins::{Origins, dotted, key};

/// The effective settings as TOML; on request with the file and line of each key, or `default`, behind it.
pub fn show(loaded: &Loaded, with_origin: bool) -> String {
    let mut page = Page { lines: Vec::new(), origins: with_origin.then_some(&loaded.origins) };
    page.table(&json!(loaded.settings), &mut Vec::new());
    page.text()
}

/// The effective settings, the origin of each key that was written, and the files.
pub fn show_json(loaded: &Loaded) -> Value {
    let files: Vec<_> = loaded.files.iter().map(|file| file.to_string_lossy()).collect();
    json!({ "settings": loaded.settings, "origins": loaded.origins, "files": files })
}

struct Page<'a> {
    /// Each line, and what stands in the column of origins.
    lines: Vec<(String, String)>,
    origins: Option<&'a Origins>,
}

impl Page<'_> {
    /// Plain keys come before the tables within a table, or they would belong to the last of these.
    fn table(&mut self, table: &Value, path: &mut Vec<String>) {
        let entries: Vec<_> = table.as_object().into_iter().flatten().collect();
        let (tables, keys): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, value)| value.is_object());
        if !path.is_empty() && !keys.is_empty() {
            self.header(path);
        }
        for (name, value) in keys {
            path.push(name.clone());
            let origin = self.origin(path);
            self.lines.push((format!("{} = {}", key(name), inline(value)), origin));
            path.pop();
        }
        for (name, table) in tables {
            path.push(name.clone());
            self.table(table, path);
            path.pop();
        }
    }

    fn header(&mut self, path: &[String]) {
        if !self.lines.is_empty() {
            self.lines.push(Default::default());
        }
        self.lines.push((format!("[{}]", dotted(path)), String::new()));
    }

    fn origin(&self, path: &[String]) -> String {
        let Some(origins) = self.origins else { return String::new() };
        match origins.get(path) {
            // A file name may hold a line feed, which would end the comment.
            Some(origin) => {
                let overridden = origins.overridden(path).map(|other| format!(", instead of {other}"));
                format!("# {}", format!("{origin}{}", overridden.collect::<String>()).escape_debug())
            }
            None => "# default".to_owned(),
        }
    }

    fn text(&self) -> String {
        let annotated = self.lines.iter().filter(|(_, origin)| !origin.is_empty());
        let width = annotated.map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        let shown = |(line, origin): &(String, String)| match origin.as_str() {
            "" => format!("{line}\n"),
            origin => format!("{line:width$}  {origin}\n"),
        };
        self.lines.iter().map(shown).collect()
    }
}

/// A value as TOML writes it on one line.
pub fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(table) => {
            let entries: Vec<_> =
                table.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
