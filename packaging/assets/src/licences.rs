//! The licences of everything that is linked into the binary. Most of them ask to be handed on with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::error::AssetError;

/// Names of files that carry a licence, or what a licence asks to be handed on.
const FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
/// The crate that is packaged.
const ROOT: &str = "quiesced";

/// One text: each licence once, with the crates that have it.
pub(crate) fn collect() -> Result<String, AssetError> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(["--locked".to_owned(), "--filter-platform=x86_64-unknown-linux-gnu".to_owned()])
        .exec()?;
    let linked = linked(&metadata)?;
    let mut crates = String::from("This program contains the following crates. Their licences follow.\n\n");
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in
        metadata.packages.iter().filter(|package| linked.contains(&package.id) && package.source.is_some())
    {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its files");
        let files = licence_files(package)?;
        if files.is_empty() && package.license.is_none() {
            return Err(AssetError::NoLicence(name));
        }
        crates += &format!("{name}: {licence}\n");
        for text in files {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    let sections = texts.into_iter().map(|(text, names)| {
        let names: Vec<String> = names.into_iter().collect();
        format!("\n{}\n{}\n\n{text}\n", "=".repeat(80), names.join(", "))
    });
    Ok(crates + &sections.collect::<String>())
}

/// Everything that the binary is linked with: normal dependencies, of whatever depth.
fn linked(metadata: &Metadata) -> Result<BTreeSet<PackageId>, AssetError> {
    let root = metadata.packages.iter().find(|package| package.name.as_str() == ROOT);
    let mut waiting = vec![root.ok_or(AssetError::NoCrate(ROOT))?.id.clone()];
    let nodes = metadata.resolve.as_ref().map(|resolve| resolve.nodes.as_slice()).unwrap_or_default();
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let Some(node) = nodes.iter().find(|node| node.id == id) else { continue };
        if found.insert(id) {
            let is_linked = |kinds: &[cargo_metadata::DepKindInfo]| {
                kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            };
            waiting
                .extend(node.deps.iter().filter(|dep| is_linked(&dep.dep_kinds)).map(|dep| dep.pkg.clone()));
        }
    }
    Ok(found)
}

fn licence_files(package: &Package) -> Result<Vec<String>, AssetError> {
    let Some(directory) = package.manifest_path.parent() else { return Ok(Vec::new()) };
    let entries =
        fs::read_dir(directory).map_err(|source| AssetError::file(directory.as_std_path(), source))?;
    let mut texts = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if FILES.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
            let text = fs::read(entry.path()).map_err(|source| AssetError::file(&entry.path(), source))?;
            texts.push(String::from_utf8_lossy(&text).trim_end().to_owned());
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn what_is_linked_is_named_and_what_only_tests_use_is_not() {
        let text = collect().unwrap();
        for name in ["tokio 1", "rustls 0.23", "ring 0.17", "aws-sdk-ssm 1"] {
            assert!(text.contains(&format!("\n{name}")), "{name} is missing");
        }
        assert!(!text.contains("\nproptest "));
        assert!(text.contains("Permission is hereby granted, free of charge"));
    }
}
