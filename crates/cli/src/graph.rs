//! Drawings of tasks and what they need, for terminals, pages and Graphviz.

use std::fmt::Write as _;

use asterism_protocol::one_line;

/// Tasks and their needs.
#[derive(Default)]
pub(crate) struct Graph {
    tasks: Vec<Task>,
}

struct Task {
    title: String,
    state: String,
    needs: Vec<usize>,
}

/// Most letters of a title in a drawing.
const TITLE_MAX: usize = 40;

impl Graph {
    pub(crate) fn add(&mut self, title: &str, state: &str, needs: Vec<usize>) {
        let title = one_line(title);
        let mut shown: String = title.chars().take(TITLE_MAX).collect();
        if title.chars().count() > TITLE_MAX {
            shown.push('…');
        }
        self.tasks.push(Task {
            title: shown,
            state: state.to_owned(),
            needs,
        });
    }

    /// How many needs lead to each task at most.
    fn depths(&self) -> Vec<usize> {
        let mut depths = vec![0; self.tasks.len()];
        // A task may be written before those it needs: until nothing changes, which it does not after as many rounds.
        for _ in 0..self.tasks.len() {
            let mut changed = false;
            for (place, task) in self.tasks.iter().enumerate() {
                let needs = task.needs.iter().filter_map(|need| depths.get(*need));
                let depth = needs.max().map_or(0, |depth| depth + 1);
                changed |= std::mem::replace(&mut depths[place], depth) != depth;
            }
            if !changed {
                break;
            }
        }
        depths
    }

    /// The places of each layer, each near what it needs.
    fn layers(&self) -> Vec<Vec<usize>> {
        let depths = self.depths();
        let mut layers = vec![Vec::new(); depths.iter().max().map_or(0, |depth| depth + 1)];
        for (place, depth) in depths.iter().enumerate() {
            layers[*depth].push(place);
        }
        let mut column = vec![0.0; self.tasks.len()];
        for layer in &mut layers {
            let middle = |place: &usize| {
                let needs = &self.tasks[*place].needs;
                let sum: f64 = needs.iter().filter_map(|need| column.get(*need)).sum();
                if needs.is_empty() {
                    *place as f64
                } else {
                    sum / needs.len() as f64
                }
            };
            let mut keyed: Vec<(f64, usize)> =
                layer.iter().map(|place| (middle(place), *place)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            *layer = keyed.into_iter().map(|(_, place)| place).collect();
            for (at, place) in layer.iter().enumerate() {
                column[*place] = at as f64;
            }
        }
        layers
    }

    /// A line for each task, indented by how deep it lies, with what it needs.
    pub(crate) fn ascii(&self) -> String {
        let mut text = String::new();
        for (depth, layer) in self.layers().iter().enumerate() {
            for place in layer {
                let task = &self.tasks[*place];
                let needs: Vec<&str> = task
                    .needs
                    .iter()
                    .filter_map(|need| Some(self.tasks.get(*need)?.title.as_str()))
                    .collect();
                let arrow = if needs.is_empty() {
                    String::new()
                } else {
                    format!(" <- {}", needs.join(", "))
                };
                let state = if task.state.is_empty() {
                    String::new()
                } else {
                    format!(" [{}]", task.state)
                };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}* {}{state}{arrow}", "  ".repeat(depth), task.title);
            }
        }
        text
    }

    /// For Graphviz.
    pub(crate) fn dot(&self) -> String {
        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = String::from("digraph workflow {\n  node [shape=box];\n");
        for (place, task) in self.tasks.iter().enumerate() {
            let label = if task.state.is_empty() {
                task.title.clone()
            } else {
                format!("{} ({})", task.title, task.state)
            };
            // As above.
            let _ = writeln!(text, "  t{place} [label={}];", quoted(&label));
            for need in &task.needs {
                let _ = writeln!(text, "  t{need} -> t{place};");
            }
        }
        text + "}\n"
    }

    /// A picture: layers from left to right.
    pub(crate) fn svg(&self) -> String {
        const WIDTH: usize = 220;
        const HEIGHT: usize = 36;
        const GAP_X: usize = 60;
        const GAP_Y: usize = 16;
        let layers = self.layers();
        let mut at = vec![(0, 0); self.tasks.len()];
        for (depth, layer) in layers.iter().enumerate() {
            for (row, place) in layer.iter().enumerate() {
                at[*place] = (
                    GAP_Y + depth * (WIDTH + GAP_X),
                    GAP_Y + row * (HEIGHT + GAP_Y),
                );
            }
        }
        let rows = layers.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            2 * GAP_Y + layers.len() * (WIDTH + GAP_X) - if layers.is_empty() { 0 } else { GAP_X };
        let height = GAP_Y + rows * (HEIGHT + GAP_Y);
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n"
        );
        for (place, task) in self.tasks.iter().enumerate() {
            let (x, y) = at[place];
            for (from_x, from_y) in task.needs.iter().filter_map(|need| at.get(*need)) {
                let (x1, y1, x2, y2) = (from_x + WIDTH, from_y + HEIGHT / 2, x, y + HEIGHT / 2);
                let middle = usize::midpoint(x1, x2);
                // As above.
                let _ = writeln!(
                    text,
                    "<path d=\"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#888\"/>"
                );
            }
        }
        for (place, task) in self.tasks.iter().enumerate() {
            let (x, y) = at[place];
            let (stroke, label) = (colour(&task.state), escape(&task.title));
            let (text_x, text_y) = (x + 10, y + HEIGHT / 2 + 4);
            // As above.
            let _ = writeln!(
                text,
                "<g><title>{label} {}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"#fff\" stroke=\"{stroke}\" stroke-width=\"2\"/><text x=\"{text_x}\" y=\"{text_y}\" fill=\"#222\">{label}</text></g>",
                escape(&task.state)
            );
        }
        text + "</svg>\n"
    }
}

fn colour(state: &str) -> &'static str {
    match state {
        "computed" => "#2a7d2a",
        "replayed" | "skipped" => "#2a6fb0",
        "failed" => "#b02a2a",
        "leased" => "#b07a2a",
        _ => "#888",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diamond() -> Graph {
        let mut graph = Graph::default();
        // Written before those it needs.
        graph.add("join", "waiting", vec![1, 2]);
        graph.add("left", "computed", vec![3]);
        graph.add("right", "leased", vec![3]);
        graph.add("\"<start>\"", "computed", vec![]);
        graph
    }

    #[test]
    fn text_shows_layers_and_needs() {
        assert_eq!(
            diamond().ascii(),
            "* \"<start>\" [computed]\n  * left [computed] <- \"<start>\"\n  * right [leased] <- \"<start>\"\n    * join [waiting] <- left, right\n"
        );
    }

    #[test]
    fn titles_are_escaped_as_each_format_wants() {
        assert!(
            diamond()
                .dot()
                .contains("t3 [label=\"\\\"<start>\\\" (computed)\"];\n")
        );
        assert!(diamond().dot().contains("  t1 -> t0;\n"));
        let svg = diamond().svg();
        assert!(
            svg.contains("\"&lt;start&gt;\"") && !svg.contains("<start>"),
            "{svg}"
        );
        assert_eq!(svg.matches("<path").count(), 4);
    }

    #[test]
    fn a_circle_ends() {
        let mut graph = Graph::default();
        graph.add("a", "", vec![1]);
        graph.add("b", "", vec![0]);
        assert_eq!(graph.ascii().lines().count(), 2);
    }
}
