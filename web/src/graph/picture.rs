//! A picture in its own units, and the eye that looks at it. No DOM in it.

use std::fmt::Write as _;

use super::layout::{Layout, Point, Spacing, layout};

/// Size of a node, in units of the picture.
pub(super) const NODE_WIDTH: f64 = 172.0;
pub(super) const NODE_HEIGHT: f64 = 54.0;

/// The least that a graph is shrunk to by itself: tasks some pixels high. Of what is longer, the beginning is shown.
const ZOOM_FIT_MIN: f64 = 0.07;

/// The same in a narrow pane, which would show little but lines: there words can be read, and the rest is a drag away.
const ZOOM_FIT_MIN_NARROW: f64 = 0.72;

/// Coordinates in whole units: short in the page, and no formatting of floats in the program.
pub(super) fn whole(coordinate: f64) -> i32 {
    coordinate.round() as i32
}

/// Where the eye is: a point of the picture is shown at `point * zoom + (x, y)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Eye {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) zoom: f64,
}

impl Eye {
    /// Sees all of a picture; of one that would become too small for that, the beginning.
    pub(super) fn on(picture: &Picture, pane: Pane) -> Self {
        let (width, height) = picture.size();
        let least = if picture.downwards {
            ZOOM_FIT_MIN_NARROW
        } else {
            ZOOM_FIT_MIN
        };
        let (room, room_down) = (pane.width - 32.0, pane.height - 32.0);
        let zoom = (room / width).min(room_down / height).clamp(least, 1.15);
        let middle = |pane: f64, picture: f64| ((pane - picture * zoom) / 2.0).max(16.0);
        let x = if width * zoom > room {
            let first = pane.width / 2.0 - picture.first().0 * zoom;
            let last = (pane.width - 16.0 - width * zoom).min(16.0);
            first.clamp(last, 16.0)
        } else {
            middle(pane.width, width)
        };
        Self {
            x,
            y: middle(pane.height, height),
            zoom,
        }
    }
}

/// A size in pixels of the page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pane {
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A picture with its direction.
pub(super) struct Picture {
    layout: Layout,
    downwards: bool,
    /// The tasks that need each task.
    needed_by: Vec<Vec<u32>>,
}

impl Picture {
    pub(super) fn of(needs: &[Vec<u32>], downwards: bool) -> Self {
        let spacing = if downwards {
            Spacing {
                depth: NODE_HEIGHT + 50.0,
                breadth: NODE_WIDTH + 22.0,
                waypoint: 22.0,
                aspect: 0.8,
            }
        } else {
            Spacing {
                depth: NODE_WIDTH + 64.0,
                breadth: NODE_HEIGHT + 22.0,
                waypoint: 18.0,
                aspect: 0.6,
            }
        };
        let mut needed_by = vec![Vec::new(); needs.len()];
        for (task, needs) in needs.iter().enumerate() {
            for need in needs {
                if let Some(needed_by) = needed_by.get_mut(*need as usize) {
                    needed_by.push(task as u32);
                }
            }
        }
        Self {
            layout: layout(needs, spacing),
            downwards,
            needed_by,
        }
    }

    /// The middle of a point of the layout, in the picture.
    fn at(&self, point: Point) -> (f64, f64) {
        let (x, y) = if self.downwards {
            (point.breadth, point.depth)
        } else {
            (point.depth, point.breadth)
        };
        (x + NODE_WIDTH / 2.0, y + NODE_HEIGHT / 2.0)
    }

    pub(super) fn node(&self, task: usize) -> (f64, f64) {
        self.layout
            .nodes
            .get(task)
            .map_or((0.0, 0.0), |point| self.at(*point))
    }

    /// The middle of a task that needs no other, the first of those.
    fn first(&self) -> (f64, f64) {
        let nodes = self.layout.nodes.iter();
        let first = nodes.min_by(|one, other| one.depth.total_cmp(&other.depth));
        first.map_or((0.0, 0.0), |point| self.at(*point))
    }

    pub(super) fn size(&self) -> (f64, f64) {
        let (x, y) = self.at(self.layout.extent);
        (x + NODE_WIDTH / 2.0, y + NODE_HEIGHT / 2.0)
    }

    /// The edges that are wanted, as one path: curves that leave and arrive along the direction of the graph.
    pub(super) fn edges(&self, wanted: impl Fn(usize, usize) -> bool) -> String {
        let mut path = String::new();
        let side = if self.downwards {
            (0.0, NODE_HEIGHT / 2.0)
        } else {
            (NODE_WIDTH / 2.0, 0.0)
        };
        for edge in &self.layout.edges {
            let (from, to) = (edge.from as usize, edge.to as usize);
            if !wanted(from, to) {
                continue;
            }
            let (mut x, mut y) = self.node(from);
            (x, y) = (x + side.0, y + side.1);
            let _ = write!(path, "M{} {}", whole(x), whole(y));
            let end = self.node(to);
            let end = (end.0 - side.0, end.1 - side.1);
            let between = edge.waypoints.iter().map(|point| self.at(*point));
            for (next_x, next_y) in between.chain([end]) {
                // Control points halfway, so that curves leave and arrive straight.
                let (first, second) = if self.downwards {
                    let middle = (y + next_y) / 2.0;
                    ((x, middle), (next_x, middle))
                } else {
                    let middle = (x + next_x) / 2.0;
                    ((middle, y), (middle, next_y))
                };
                path.push('C');
                for (x, y) in [first, second, (next_x, next_y)] {
                    let _ = write!(path, "{} {} ", whole(x), whole(y));
                }
                (x, y) = (next_x, next_y);
            }
        }
        path
    }

    /// The task in a direction of the picture from another one, along edges or to the side.
    pub(super) fn beside(&self, task: u32, needs: &[Vec<u32>], key: &str) -> Option<u32> {
        let (back, forth, less, more) = if self.downwards {
            ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight")
        } else {
            ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
        };
        let here = *self.layout.nodes.get(task as usize)?;
        let nearest = |tasks: &[u32]| {
            let far = |task: &u32| (self.layout.nodes[*task as usize].breadth - here.breadth).abs();
            tasks
                .iter()
                .copied()
                .min_by(|a, b| far(a).total_cmp(&far(b)))
        };
        match key {
            key if key == back => nearest(&needs[task as usize]),
            key if key == forth => nearest(&self.needed_by[task as usize]),
            key if key == less || key == more => {
                let sign = if key == more { 1.0 } else { -1.0 };
                let ahead = |point: &Point| (point.breadth - here.breadth) * sign;
                let same_rank = self.layout.nodes.iter().enumerate();
                let same_rank = same_rank.filter(|(_, point)| {
                    (point.depth - here.depth).abs() < 1.0 && ahead(point) > 0.0
                });
                let next = same_rank.min_by(|a, b| ahead(a.1).total_cmp(&ahead(b.1)));
                next.map(|(task, _)| task as u32)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: Pane = Pane {
        width: 340.0,
        height: 300.0,
    };

    /// A task that thirty others need.
    fn fan() -> Vec<Vec<u32>> {
        let others = (0..30).map(|_| vec![0]);
        std::iter::once(Vec::new()).chain(others).collect()
    }

    #[test]
    fn a_wide_run_stays_readable_in_a_narrow_pane() {
        let picture = Picture::of(&fan(), true);
        let eye = Eye::on(&picture, PHONE);
        assert!(
            eye.zoom * 12.0 > 8.0,
            "its small letters have {} pixels",
            eye.zoom * 12.0
        );
        assert!(picture.size().0 * eye.zoom > PHONE.width);
        // It begins where the run does.
        let (x, y) = picture.node(0);
        let (x, y) = (x * eye.zoom + eye.x, y * eye.zoom + eye.y);
        assert!(
            (x - PHONE.width / 2.0).abs() < 1.0,
            "the first task is at {x}"
        );
        assert!(
            y > 0.0 && y < PHONE.height / 2.0,
            "the first task is at {y}"
        );
    }

    #[test]
    fn what_has_room_is_seen_whole() {
        let small = Picture::of(&[Vec::new(), vec![0]], true);
        let eye = Eye::on(&small, PHONE);
        assert_eq!(eye.zoom, 1.15);
        let (width, height) = small.size();
        assert!((eye.x * 2.0 + width * eye.zoom - PHONE.width).abs() < 0.01);
        assert!((eye.y * 2.0 + height * eye.zoom - PHONE.height).abs() < 0.01);
        // Where there is room for an overview, many tasks are small.
        let pane = Pane {
            width: 1_200.0,
            height: 400.0,
        };
        let eye = Eye::on(&Picture::of(&fan(), false), pane);
        assert!(eye.zoom < 0.2, "{}", eye.zoom);
    }
}
