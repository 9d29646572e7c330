//! A plan as a tree: group, hooks, their data, the filesystem that it lies on, block devices, volumes.

use std::collections::BTreeSet;

use quiesced_core::block::{BlockDevice, Stack, Volume};
use quiesced_core::coverage::{Part, State};
use quiesced_core::plan::{FilesystemIndex, Plan, PlannedFilesystem, PlannedHook};

use super::render::extent;

/// One line, and what hangs below it.
struct Node {
    text: String,
    below: Vec<Node>,
}

impl Node {
    fn new(text: impl Into<String>, below: Vec<Self>) -> Self {
        Self { text: text.into(), below }
    }

    fn write(&self, indent: &str, text: &mut String) {
        text.push_str(&self.text);
        text.push('\n');
        for (place, node) in self.below.iter().enumerate() {
            let (branch, rest) =
                if place + 1 == self.below.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            text.push_str(indent);
            text.push_str(branch);
            node.write(&format!("{indent}{rest}"), text);
        }
    }
}

/// Draws a plan.
pub(super) fn plan(group: &str, plan: &Plan) -> String {
    let mut drawing = Drawing { plan, drawn: BTreeSet::new() };
    let parts = plan.coverage();
    let (data, bare): (Vec<Part<'_>>, Vec<Part<'_>>) =
        parts.into_iter().partition(|part| part.hook.is_some());
    let mut below: Vec<Node> = plan.hooks.iter().map(|hook| drawing.hook(hook, &data)).collect();
    below.extend(bare.iter().map(|part| drawing.part(part)));
    let mut text = String::new();
    Node::new(format!("group {group}: {}", extent(plan)), below).write("", &mut text);
    text
}

struct Drawing<'a> {
    plan: &'a Plan,
    /// The filesystems whose devices have been drawn.
    drawn: BTreeSet<FilesystemIndex>,
}

impl Drawing<'_> {
    fn hook(&mut self, hook: &PlannedHook, data: &[Part<'_>]) -> Node {
        let after: Vec<&str> = hook.after.iter().map(|at| self.plan.hooks[*at].name.as_str()).collect();
        let order =
            if after.is_empty() { "at once".to_owned() } else { format!("after {}", after.join(", ")) };
        let own = data.iter().filter(|part| part.hook == Some(hook.name.as_str()));
        let below = own.map(|part| self.part(part)).collect();
        Node::new(format!("hook {}, quiesced {order}", hook.name), below)
    }

    fn part(&mut self, part: &Part<'_>) -> Node {
        let state = match &part.state {
            State::Held => "held".to_owned(),
            State::NotFrozen { why } => format!("quiesced but not frozen: {why}"),
            State::Outside { why } => format!("outside: {why}"),
        };
        let below = match part.filesystem {
            Some(index) => vec![self.filesystem(index)],
            None => stack(part.stack),
        };
        let what = part.what.map(|what| format!(" ({what})")).unwrap_or_default();
        Node::new(format!("{}{what}, {state}", part.path.display()), below)
    }

    /// Several hooks may have their data on one filesystem; what that lies on is drawn once.
    fn filesystem(&mut self, index: FilesystemIndex) -> Node {
        let filesystem = &self.plan.filesystems[index];
        let PlannedFilesystem { mount_point, fs_type, superblock, rank, also_at, .. } = filesystem;
        let also: String = also_at.iter().map(|path| format!(", also at {}", path.display())).collect();
        let name = format!("{} ({fs_type}, {superblock}{also})", mount_point.display());
        if !self.drawn.insert(index) {
            return Node::new(format!("{name}, as above"), Vec::new());
        }
        Node::new(format!("{name}, frozen in step {}", rank + 1), stack(&filesystem.stack))
    }
}

/// The devices of a stack, each drawn once, then volumes that are no device.
fn stack(stack: &Stack) -> Vec<Node> {
    let mut drawn = BTreeSet::new();
    let devices: Vec<Node> = stack.topmost().map(|top| device(stack, top, &mut drawn)).collect();
    let others = stack.volumes.iter().filter(|volume| !is_drawn(stack, volume));
    devices.into_iter().chain(others.map(|volume| Node::new(volume.to_string(), Vec::new()))).collect()
}

fn is_drawn(stack: &Stack, volume: &Volume) -> bool {
    volume.device().is_some_and(|name| stack.device(name).is_some())
}

fn device<'a>(stack: &'a Stack, top: &'a BlockDevice, drawn: &mut BTreeSet<&'a str>) -> Node {
    let name = match stack.volume_of(&top.name) {
        Some(Volume::Ebs { id, device }) => format!("{device}: {id}"),
        Some(other) => other.to_string(),
        None => format!("{} {}", top.name, top.kind),
    };
    if !drawn.insert(&top.name) {
        return Node::new(format!("{name}, as above"), Vec::new());
    }
    let below = top.below.iter().filter_map(|name| stack.device(name));
    Node::new(name, below.map(|lower| device(stack, lower, drawn)).collect())
}
