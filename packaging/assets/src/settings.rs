//! quiesced.toml(5), from the schema of the configuration.

use roff::{Roff, bold, italic, roman};
use serde_json::Value;

/// A table of the configuration and its keys.
struct Table<'a> {
    heading: String,
    schema: &'a Value,
}

/// The manual page of the configuration files.
pub(crate) fn page() -> String {
    let schema = quiesced::config::schema();
    let mut page = Roff::new();
    page.control("TH", ["quiesced.toml", "5", "", quiesced::VERSION, "quiesced"]);
    page.control("SH", ["NAME"]);
    page.text([roman("quiesced.toml - configuration of the quiesced agent")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([roman(
        "/usr/lib/quiesced/conf.d/*.toml, /run/quiesced/conf.d/*.toml, /etc/quiesced/conf.d/*.toml",
    )]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "Files are read in the order of their names, whatever their directory. A later file adds to an earlier one and overrides single keys of it; \
         one of the same name in /etc takes the place of one in /run, and that of one in /usr/lib. Each must belong to root and be writable by nobody else. \
         quiesced-config-show(8) with --origin says which file and line a setting comes from. Durations are written as 30s or 1m 30s.",
    )]);
    for table in tables(&schema) {
        write_table(&mut page, &schema, &table);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("quiesced"), roman("(8), "), bold("quiesced-check"), roman("(8)")]);
    page.render()
}

/// The tables in the order in which one would write them.
fn tables(schema: &Value) -> Vec<Table<'_>> {
    let properties = &schema["properties"];
    let mut tables = Vec::new();
    for name in ["agent", "group", "hook", "report", "log", "metrics", "aws"] {
        let inner = resolve(schema, &properties[name]);
        match name {
            "group" => tables.push(Table {
                heading: "[group.NAME]".to_owned(),
                schema: resolve(schema, &inner["additionalProperties"]),
            }),
            "hook" => tables.extend(kinds(schema, resolve(schema, &inner["additionalProperties"]))),
            _ => add_tables(&mut tables, schema, name, inner),
        }
    }
    tables
}

fn kinds<'a>(schema: &'a Value, hook: &'a Value) -> Vec<Table<'a>> {
    let kinds = hook["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let properties = kinds.iter().filter_map(|kind| kind["properties"].as_object());
    properties
        .flatten()
        .map(|(name, inner)| Table { heading: format!("[hook.NAME.{name}]"), schema: resolve(schema, inner) })
        .collect()
}

/// A table, then the tables in it.
fn add_tables<'a>(tables: &mut Vec<Table<'a>>, schema: &'a Value, name: &str, inner: &'a Value) {
    tables.push(Table { heading: format!("[{name}]"), schema: inner });
    for (key, value) in properties(inner) {
        let value = resolve(schema, value);
        if value.get("properties").is_some() {
            add_tables(tables, schema, &format!("{name}.{key}"), value);
        }
    }
}

fn properties(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
    table["properties"].as_object().into_iter().flatten()
}

/// Follows a reference, and takes what is there when something is there.
fn resolve<'a>(schema: &'a Value, inner: &'a Value) -> &'a Value {
    let some = inner["anyOf"].as_array().and_then(|all| all.iter().find(|one| one.get("$ref").is_some()));
    let inner = some.unwrap_or(inner);
    match inner["$ref"].as_str().and_then(|path| path.strip_prefix('#')).and_then(|path| schema.pointer(path))
    {
        Some(found) => found,
        None => inner,
    }
}

fn write_table(page: &mut Roff, schema: &Value, table: &Table<'_>) {
    page.control("SH", [table.heading.as_str()]);
    if let Some(text) = table.schema["description"].as_str().filter(|text| !text.starts_with("`[")) {
        page.text([roman(text)]);
    }
    for (key, value) in properties(table.schema) {
        let resolved = resolve(schema, value);
        if resolved.get("properties").is_some() {
            continue;
        }
        page.control("TP", []);
        let default = value.get("default").filter(|default| !default.is_null());
        match default {
            Some(default) => page.text([bold(key), roman(" = "), italic(default.to_string())]),
            None => page.text([bold(key)]),
        };
        page.text([roman(meaning(value, resolved, is_required(table.schema, key)))]);
    }
}

fn is_required(table: &Value, key: &str) -> bool {
    table["required"].as_array().is_some_and(|required| required.iter().any(|name| name == key))
}

/// What a key means, and what may stand there.
fn meaning(value: &Value, resolved: &Value, required: bool) -> String {
    let mut text = value["description"]
        .as_str()
        .or_else(|| resolved["description"].as_str())
        .unwrap_or_default()
        .to_owned();
    let words: Vec<String> = words(resolved);
    if !words.is_empty() {
        text += &format!(" One of {}.", words.join("; "));
    }
    if let (Some(least), Some(most)) = (value["minimum"].as_u64(), value["maximum"].as_u64()) {
        text += &format!(" From {least} to {most}.");
    }
    if required {
        text += " Required.";
    }
    text
}

/// The words that a key admits, each with what it means.
fn words(resolved: &Value) -> Vec<String> {
    let branches = resolved["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let described = branches.iter().filter_map(|branch| {
        let word = branch["const"].as_str().map(|word| format!("{word:?}")).or_else(|| key_of(branch))?;
        let meaning = branch["description"].as_str().unwrap_or_default().trim_end_matches('.');
        Some(if meaning.is_empty() { word } else { format!("{word} ({meaning})") })
    });
    let plain = resolved["enum"].as_array().map(Vec::as_slice).unwrap_or_default();
    described.chain(plain.iter().map(Value::to_string)).collect()
}

/// A table of one key, as a source of a password is.
fn key_of(branch: &Value) -> Option<String> {
    properties(branch).next().map(|(key, _)| format!("{{ {key} = … }}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of the schema, wherever it stands.
    fn keys(value: &Value, found: &mut Vec<String>) {
        if let Some(map) = value.as_object() {
            found.extend(properties(value).map(|(key, _)| key.clone()));
            map.values().for_each(|inner| keys(inner, found));
        }
        for inner in value.as_array().into_iter().flatten() {
            keys(inner, found);
        }
    }

    #[test]
    fn the_page_of_the_configuration_names_every_key() {
        let page = page().replace('\\', "");
        let mut found = Vec::new();
        keys(&quiesced::config::schema(), &mut found);
        assert!(found.len() > 80, "only {} keys", found.len());
        for key in found {
            assert!(page.contains(&key), "{key} is missing:\n{page}");
        }
    }

    #[test]
    fn a_key_is_told_with_its_default_its_words_and_its_range() {
        let page = page();
        for text in ["\"30s\"", "Whether the filesystem of `/` may be frozen", "From 1 to 3650", "Required."]
        {
            assert!(page.contains(text), "{text} is missing:\n{page}");
        }
    }
}
