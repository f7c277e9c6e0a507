//! Rows as they come: aligned for people, one JSON object a line for programs.

/// One figure.
pub(crate) struct Row<'a> {
    pub(crate) bench: &'a str,
    pub(crate) case: &'a str,
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    /// The floor in the same unit, and what it is.
    pub(crate) floor: Option<(f64, &'a str)>,
}

pub(crate) struct Table {
    json: bool,
}

impl Table {
    pub(crate) fn new(json: bool) -> Self {
        if !json {
            println!("| bench | case | value | unit | floor | ratio | the floor is |");
            println!("|---|---|---:|---|---:|---:|---|");
        }
        Self { json }
    }

    pub(crate) fn row(&mut self, row: &Row<'_>) {
        let ratio = row.floor.map(|(floor, _)| row.value / floor);
        if self.json {
            let line = serde_json::json!({
                "bench": row.bench, "case": row.case, "value": row.value, "unit": row.unit,
                "floor": row.floor.map(|(floor, _)| floor), "ratio": ratio,
            });
            println!("{line}");
        } else {
            let floor = row.floor.map_or(String::new(), |(floor, _)| number(floor));
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let what = row.floor.map_or("", |(_, what)| what);
            println!(
                "| {} | {} | {} | {} | {floor} | {ratio} | {what} |",
                row.bench,
                row.case,
                number(row.value),
                row.unit
            );
        }
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The middle of some figures.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
