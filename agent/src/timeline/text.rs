//! A timeline for a terminal.

use comfy_table::{CellAlignment, Table, presets};

use super::{Bar, Kind, Timeline, seconds};
use quiesced_core::report::{Phase, Step};

/// How many characters the axis has: with the labels of most hosts this fits into 100.
const WIDTH: usize = 60;

/// One line for each row, and what was held in words. Every bar is at least one character wide, so that what took a
/// millisecond beside seconds is seen at all.
pub fn text(timeline: &Timeline) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in &timeline.rows {
        let mut cells = vec!['·'; WIDTH];
        let mut bars: Vec<&Bar> = row.bars.iter().collect();
        // The shortest last, or a longer one would cover it.
        bars.sort_by_key(|bar| std::cmp::Reverse(bar.took()));
        bars.into_iter().for_each(|bar| draw(timeline, bar, &mut cells));
        if let Some(end) = timeline.lease_ends.filter(|end| *end < timeline.until) {
            cells[column(timeline.place(end))] = '│';
        }
        let held = row.bars.iter().filter(|bar| matches!(bar.kind, Kind::Quiesced | Kind::Frozen));
        let held: Vec<_> = held.map(|bar| format!("{} {}", bar.kind.name(), seconds(bar.took()))).collect();
        table.add_row([row.label.clone(), cells.into_iter().collect(), held.join(", ")]);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text: String = table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect();
    text.push_str(&format!("{} in all; ", seconds(timeline.length())));
    text.push_str("p prepare, q quiesce, f freeze, ━ held, s sync, t thaw, v verify, r resume, ! failed\n");
    text
}

fn draw(timeline: &Timeline, bar: &Bar, cells: &mut [char]) {
    let (from, until) = (column(timeline.place(bar.from)), column(timeline.place(bar.until)));
    let mark = if bar.failed { '!' } else { mark(bar.kind) };
    cells[from..=until.max(from)].fill(mark);
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of WIDTH, from 0 to 1")]
fn column(place: f64) -> usize {
    ((place * WIDTH as f64) as usize).min(WIDTH - 1)
}

const fn mark(kind: Kind) -> char {
    match kind {
        Kind::Phase(Phase::Held) | Kind::Quiesced | Kind::Frozen => '━',
        Kind::Phase(Phase::Preparing) | Kind::Step(Step::Prepare) => 'p',
        Kind::Phase(Phase::Quiescing) | Kind::Step(Step::Quiesce) => 'q',
        Kind::Phase(Phase::Freezing) | Kind::Step(Step::Freeze) => 'f',
        Kind::Phase(Phase::Thawing) | Kind::Step(Step::Thaw) => 't',
        Kind::Phase(Phase::Resuming) | Kind::Step(Step::Resume) => 'r',
        Kind::Step(Step::Inspect) => 'i',
        Kind::Step(Step::Manifest) => 'm',
        Kind::Step(Step::Sync) => 's',
        Kind::Step(Step::Verify) => 'v',
    }
}
