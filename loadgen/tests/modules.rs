//! The structure of the sources: layers, no circular imports, file headers, file lengths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The modules of the crate. Each may import those before it.
const LAYERS: [&str; 12] = [
    "num", "clock", "input", "model", "measure", "actors", "engine", "hostile", "commands",
    "report", "cli", "main",
];

/// The production sources by path below `src`, without `.rs` or `/mod.rs`; comments and unit tests
/// are removed.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![root.clone()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the sources") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).expect("below the root").display().to_string();
            let text = fs::read_to_string(&path).expect("UTF-8");
            assert!(text.starts_with("//!"), "{name} must begin with a header");
            assert!(text.lines().count() <= 500, "{name} must not exceed 500 lines");
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code: Vec<_> =
                code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let name = name.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
            if !name.contains("tests") {
                found.insert(name, code.join("\n"));
            }
        }
    }
    found
}

/// The paths that begin with `start::` in the code; a braced list gives one path for each item.
fn paths(code: &str, start: &str) -> Vec<String> {
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let mut found = Vec::new();
    let start = format!("{start}::");
    for (at, _) in code.match_indices(&start) {
        let rest = &code[at + start.len()..];
        let end = rest.find(|letter| !is_path(letter)).unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        match after.strip_prefix('{').and_then(|list| list.split_once('}')) {
            Some((list, _)) => {
                found.extend(list.split(',').map(|item| format!("{path}{}", item.trim())));
            }
            None => found.push(path.to_owned()),
        }
    }
    found
}

/// The file that defines the item at this path below `folder`; the path may end in the file.
fn file_of(folder: &str, path: &str, files: &BTreeMap<String, String>) -> Option<String> {
    let mut name = folder.to_owned();
    for segment in path.split("::") {
        let next = if name.is_empty() { segment.to_owned() } else { format!("{name}/{segment}") };
        if !files.contains_key(&next) {
            break;
        }
        name = next;
    }
    files.contains_key(&name).then_some(name)
}

/// By file, the files that it imports.
fn imports(files: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let of = |name: &String, code: &String| {
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        let mut found: BTreeSet<_> = paths(code, "crate")
            .iter()
            .filter_map(|path| file_of("", path, files))
            .chain(paths(code, "super").iter().filter_map(|path| file_of(parent, path, files)))
            .collect();
        let children = files.keys().filter(|child| {
            let inside = child.strip_prefix(&format!("{name}/"));
            inside.is_some_and(|child| code.contains(&format!("{child}::")))
        });
        found.extend(children.cloned());
        found.remove(name);
        (name.clone(), found)
    };
    files.iter().map(|(name, code)| of(name, code)).collect()
}

fn layer(name: &str) -> usize {
    let room = name.split('/').next().unwrap_or_default();
    LAYERS.iter().position(|layer| *layer == room).unwrap_or_else(|| panic!("{name} has no layer"))
}

#[test]
fn modules_import_only_earlier_layers() {
    let files = sources();
    let imports = imports(&files);
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 100, "imports are found");
    for (name, imported) in &imports {
        for other in imported {
            assert!(layer(other) <= layer(name), "{name} must not import {other}");
        }
    }
}

#[test]
fn no_file_imports_itself_through_others() {
    let files = sources();
    let imports = imports(&files);
    for name in files.keys() {
        let (mut reached, mut open) = (BTreeSet::new(), vec![name]);
        while let Some(next) = open.pop() {
            open.extend(imports[next].iter().filter(|other| reached.insert(*other)));
        }
        assert!(!reached.contains(name), "{name} imports itself through one of {reached:?}");
    }
}

#[test]
fn paths_are_found_with_and_without_braces() {
    let code = "use crate::a::{B, c::D};\nlet e = crate::f::g();\nuse super::h;";
    assert_eq!(paths(code, "crate"), ["a::B", "a::c::D", "f::g"]);
    assert_eq!(paths(code, "super"), ["h"]);
}
