//! Where the tasks of a workflow stand in its picture. Pure arithmetic: it knows neither the DOM nor what a task is.
//!
//! The picture grows along one axis (*depth*: a task stands one step behind the deepest one that it needs) and spreads
//! along the other (*breadth*). Tasks that have nothing to do with each other are laid out apart and packed on shelves.
//! Within a connected part: longest-path ranks, waypoints where an edge passes a rank, barycenter sweeps against
//! crossings, and isotonic regression, which puts each node as near to its neighbours as the order allows.

use std::collections::VecDeque;

/// Rounds of ordering; more find few better orders.
const ORDER_ROUNDS: usize = 12;

/// Rounds of placing; after these, nodes hardly move.
const PLACE_ROUNDS: usize = 8;

/// Most waypoints, for each node of a part and beside a fixed start. Edges beyond are drawn straight: without this
/// bound, a chain in which every task also needs the first would have quadratically many.
const WAYPOINTS_PER_NODE: usize = 6;
const WAYPOINTS_FREE: usize = 4_096;

/// Distances of a picture, in its own units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spacing {
    /// From one rank to the next.
    pub depth: f64,
    /// From one node to its neighbour in a rank.
    pub breadth: f64,
    /// Between neighbours of which one is only a waypoint of an edge.
    pub waypoint: f64,
    /// Wanted ratio of extent in breadth to extent in depth, where parts can be arranged freely.
    pub aspect: f64,
}

/// A point of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Along the way that outcomes go.
    pub depth: f64,
    /// Across it.
    pub breadth: f64,
}

/// An edge from a node to one that needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The node needed.
    pub from: u32,
    /// The node that needs it.
    pub to: u32,
    /// Where it passes ranks between the two.
    pub waypoints: Vec<Point>,
}

/// A picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// The centre of each node.
    pub nodes: Vec<Point>,
    /// The edges, ordered by `to`, then `from`.
    pub edges: Vec<Edge>,
    /// The largest coordinates of any centre; the smallest are 0.
    pub extent: Point,
}

/// Lays out nodes of which the `i`-th needs `needs[i]`. Places that do not exist are ignored; nodes on a circle
/// (there are none in a workflow) get a place too.
#[must_use]
pub fn layout(needs: &[Vec<u32>], spacing: Spacing) -> Layout {
    let count = needs.len();
    let edges: Vec<(usize, usize)> = needs
        .iter()
        .enumerate()
        .flat_map(|(to, from)| from.iter().map(move |from| (*from as usize, to)))
        .filter(|(from, to)| *from < count && from != to)
        .collect();
    let ranks = longest_path_ranks(count, &edges);
    let parts = connected_parts(count, &edges);
    let mut part_of = vec![0; count];
    let mut place_in_part = vec![0; count];
    for (part, nodes) in parts.iter().enumerate() {
        for (place, node) in nodes.iter().enumerate() {
            (part_of[*node], place_in_part[*node]) = (part, place);
        }
    }
    let mut edges_of_part = vec![Vec::new(); parts.len()];
    for (from, to) in &edges {
        edges_of_part[part_of[*to]].push((place_in_part[*from], place_in_part[*to]));
    }

    let laid: Vec<Part> = parts
        .iter()
        .zip(&edges_of_part)
        .map(|(nodes, edges)| {
            let ranks = nodes.iter().map(|node| ranks[*node]).collect::<Vec<_>>();
            Part::lay(&ranks, edges, spacing)
        })
        .collect();
    let corners = pack(
        &laid.iter().map(|part| part.extent).collect::<Vec<_>>(),
        spacing,
    );

    let mut picture = Layout {
        nodes: vec![Point::default(); count],
        ..Layout::default()
    };
    for ((nodes, part), corner) in parts.iter().zip(laid).zip(corners) {
        let at = |point: Point| Point {
            depth: point.depth + corner.depth,
            breadth: point.breadth + corner.breadth,
        };
        for (node, point) in nodes.iter().zip(&part.nodes) {
            picture.nodes[*node] = at(*point);
        }
        picture
            .edges
            .extend(part.edges.into_iter().map(|edge| Edge {
                from: nodes[edge.from as usize] as u32,
                to: nodes[edge.to as usize] as u32,
                waypoints: edge.waypoints.into_iter().map(at).collect(),
            }));
        let far = at(part.extent);
        picture.extent.depth = picture.extent.depth.max(far.depth);
        picture.extent.breadth = picture.extent.breadth.max(far.breadth);
    }
    picture.edges.sort_by_key(|edge| (edge.to, edge.from));
    picture
}

/// How many edges stand between each node and the farthest one that it leads back to.
fn longest_path_ranks(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut dependants = vec![Vec::new(); count];
    let mut missing = vec![0_usize; count];
    for (from, to) in edges {
        dependants[*from].push(*to);
        missing[*to] += 1;
    }
    let mut ranks = vec![0; count];
    let mut ready: VecDeque<usize> = (0..count).filter(|node| missing[*node] == 0).collect();
    while let Some(node) = ready.pop_front() {
        for dependant in &dependants[node] {
            ranks[*dependant] = ranks[*dependant].max(ranks[node] + 1);
            missing[*dependant] -= 1;
            if missing[*dependant] == 0 {
                ready.push_back(*dependant);
            }
        }
    }
    ranks
}

/// Nodes by the connected part that they belong to, parts in the order of their first nodes.
fn connected_parts(count: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    fn root(parents: &mut [usize], mut node: usize) -> usize {
        while parents[node] != node {
            parents[node] = parents[parents[node]];
            node = parents[node];
        }
        node
    }
    let mut parents: Vec<usize> = (0..count).collect();
    for (from, to) in edges {
        let (a, b) = (root(&mut parents, *from), root(&mut parents, *to));
        // The smaller one leads, so that a root is the first node of its part.
        parents[a.max(b)] = a.min(b);
    }
    let mut part_of_root = vec![usize::MAX; count];
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for node in 0..count {
        let root = root(&mut parents, node);
        if part_of_root[root] == usize::MAX {
            part_of_root[root] = parts.len();
            parts.push(Vec::new());
        }
        parts[part_of_root[root]].push(node);
    }
    parts
}

/// A connected part of the picture, with its own origin.
struct Part {
    nodes: Vec<Point>,
    edges: Vec<Edge>,
    extent: Point,
}

impl Part {
    fn lay(ranks: &[usize], edges: &[(usize, usize)], spacing: Spacing) -> Self {
        if ranks.len() == 1 {
            return Self {
                nodes: vec![Point::default()],
                edges: Vec::new(),
                extent: Point::default(),
            };
        }
        let mut sugiyama = Sugiyama::new(ranks, edges);
        sugiyama.order();
        let breadths = sugiyama.breadths(spacing);
        let least = breadths.iter().copied().fold(f64::INFINITY, f64::min);
        // Whole units: what should be straight looks straight, and the SVG is shorter.
        let point = |node: usize| Point {
            depth: sugiyama.ranks[node] as f64 * spacing.depth,
            breadth: (breadths[node] - least).round(),
        };
        let extent = (0..breadths.len())
            .map(point)
            .fold(Point::default(), |far, point| Point {
                depth: far.depth.max(point.depth),
                breadth: far.breadth.max(point.breadth),
            });
        let edges = edges
            .iter()
            .zip(&sugiyama.waypoints)
            .map(|((from, to), waypoints)| Edge {
                from: *from as u32,
                to: *to as u32,
                waypoints: waypoints.clone().map(point).collect(),
            });
        Self {
            nodes: (0..ranks.len()).map(point).collect(),
            edges: edges.collect(),
            extent,
        }
    }
}

/// The layered method of Sugiyama, Tagawa and Toda: nodes first, waypoints behind them, all numbered alike.
struct Sugiyama {
    nodes: usize,
    ranks: Vec<usize>,
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// For each edge the numbers of its waypoints.
    waypoints: Vec<std::ops::Range<usize>>,
    /// Nodes and waypoints of each rank, in order.
    layers: Vec<Vec<usize>>,
    /// The place of each in its layer.
    place: Vec<usize>,
}

impl Sugiyama {
    fn new(node_ranks: &[usize], edges: &[(usize, usize)]) -> Self {
        let nodes = node_ranks.len();
        let most = nodes * (1 + WAYPOINTS_PER_NODE) + WAYPOINTS_FREE;
        let mut ranks = node_ranks.to_vec();
        let mut before = vec![Vec::new(); nodes];
        let mut after = vec![Vec::new(); nodes];
        let mut waypoints = Vec::with_capacity(edges.len());
        for (from, to) in edges {
            let first = ranks.len();
            let passed = node_ranks[*from] + 1..node_ranks[*to];
            if passed.start > passed.end || first + passed.len() > most {
                waypoints.push(first..first);
                continue;
            }
            let mut last = *from;
            for rank in passed {
                let waypoint = ranks.len();
                ranks.push(rank);
                before.push(vec![last]);
                after.push(Vec::new());
                after[last].push(waypoint);
                last = waypoint;
            }
            after[last].push(*to);
            before[*to].push(last);
            waypoints.push(first..ranks.len());
        }
        let mut layers = vec![Vec::new(); ranks.iter().max().map_or(0, |rank| rank + 1)];
        let mut place = vec![0; ranks.len()];
        for (node, rank) in ranks.iter().enumerate() {
            place[node] = layers[*rank].len();
            layers[*rank].push(node);
        }
        Self {
            nodes,
            ranks,
            before,
            after,
            waypoints,
            layers,
            place,
        }
    }

    /// Finds an order within layers with few crossings: each moves to the mean place of its neighbours, forwards and
    /// backwards in turn, and the best order seen stays.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for round in 0..ORDER_ROUNDS {
            if best.0 == 0 {
                break;
            }
            let forwards = round % 2 == 0;
            for step in 0..self.layers.len() {
                let rank = if forwards {
                    step
                } else {
                    self.layers.len() - 1 - step
                };
                self.order_layer(rank, forwards);
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
        for layer in &self.layers {
            for (place, node) in layer.iter().enumerate() {
                self.place[*node] = place;
            }
        }
    }

    fn order_layer(&mut self, rank: usize, forwards: bool) {
        let neighbours = if forwards { &self.before } else { &self.after };
        let layer = std::mem::take(&mut self.layers[rank]);
        let mut keyed: Vec<(f64, usize)> = layer
            .into_iter()
            .map(|node| {
                let places = neighbours[node]
                    .iter()
                    .map(|neighbour| self.place[*neighbour] as f64);
                (mean(places).unwrap_or(self.place[node] as f64), node)
            })
            .collect();
        // Stable: equal means keep their order.
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.layers[rank] = keyed.into_iter().map(|(_, node)| node).collect();
        for (place, node) in self.layers[rank].iter().enumerate() {
            self.place[*node] = place;
        }
    }

    /// Crossings between neighbouring layers, counted as inversions with a Fenwick tree.
    fn crossings(&self) -> u64 {
        let mut crossings = 0;
        for (rank, layer) in self.layers.iter().enumerate() {
            let width = self.layers.get(rank + 1).map_or(0, Vec::len);
            let mut tree = vec![0_u64; width + 1];
            let mut seen = 0;
            for node in layer {
                let mut ends: Vec<usize> = self.after[*node]
                    .iter()
                    .map(|end| self.place[*end])
                    .collect();
                ends.sort_unstable();
                for end in ends {
                    let mut at = end + 1;
                    let mut not_beyond = 0;
                    while at > 0 {
                        not_beyond += tree[at];
                        at &= at - 1;
                    }
                    crossings += seen - not_beyond;
                    seen += 1;
                    at = end + 1;
                    while at <= width {
                        tree[at] += 1;
                        at += at & at.wrapping_neg();
                    }
                }
            }
        }
        crossings
    }

    /// Coordinates across: each as near to the mean of its neighbours as order and spacing allow.
    fn breadths(&self, spacing: Spacing) -> Vec<f64> {
        let mut at: Vec<f64> = self
            .place
            .iter()
            .map(|place| *place as f64 * spacing.breadth)
            .collect();
        for round in 0..PLACE_ROUNDS {
            for step in 0..self.layers.len() {
                let rank = if round % 2 == 0 {
                    step
                } else {
                    self.layers.len() - 1 - step
                };
                let layer = &self.layers[rank];
                let mut offset = 0.0;
                let mut offsets = Vec::with_capacity(layer.len());
                for (place, node) in layer.iter().enumerate() {
                    if place > 0 {
                        offset += self.distance(layer[place - 1], *node, spacing);
                    }
                    offsets.push(offset);
                }
                let wanted = layer.iter().zip(&offsets).map(|(node, offset)| {
                    let neighbours = self.before[*node].iter().chain(&self.after[*node]);
                    mean(neighbours.map(|neighbour| at[*neighbour])).unwrap_or(at[*node]) - offset
                });
                let placed = isotonic(wanted);
                for ((node, offset), base) in layer.iter().zip(&offsets).zip(placed) {
                    at[*node] = base + offset;
                }
            }
        }
        at
    }

    fn distance(&self, left: usize, right: usize, spacing: Spacing) -> f64 {
        match (left < self.nodes, right < self.nodes) {
            (true, true) => spacing.breadth,
            (false, false) => spacing.waypoint,
            (true, false) | (false, true) => (spacing.breadth + spacing.waypoint) / 2.0,
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// The non-decreasing sequence nearest to `wanted` (pool adjacent violators).
fn isotonic(wanted: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut pools: Vec<(f64, u32)> = Vec::new();
    for value in wanted {
        let mut pool = (value, 1);
        while let Some(last) = pools
            .last()
            .filter(|last| last.0 / f64::from(last.1) > pool.0 / f64::from(pool.1))
        {
            pool = (pool.0 + last.0, pool.1 + last.1);
            pools.pop();
        }
        pools.push(pool);
    }
    pools
        .into_iter()
        .flat_map(|(sum, count)| std::iter::repeat_n(sum / f64::from(count), count as usize))
        .collect()
}

/// The corner of each part: shelves along depth, in the parts' order, as many as give the wanted aspect.
fn pack(extents: &[Point], spacing: Spacing) -> Vec<Point> {
    let outer = |extent: &Point| {
        (
            extent.depth + spacing.depth,
            extent.breadth + spacing.breadth,
        )
    };
    let area: f64 = extents
        .iter()
        .map(outer)
        .map(|(depth, breadth)| depth * breadth)
        .sum();
    let deepest = extents
        .iter()
        .map(|extent| outer(extent).0)
        .fold(0.0, f64::max);
    let shelf_depth = (area / spacing.aspect).sqrt().max(deepest);
    let (mut at, mut shelf_breadth) = (Point::default(), 0.0_f64);
    extents
        .iter()
        .map(|extent| {
            let (depth, breadth) = outer(extent);
            // Half a step of tolerance, so that rounding does not decide.
            if at.depth > 0.0 && at.depth + depth > shelf_depth + spacing.depth / 2.0 {
                at = Point {
                    depth: 0.0,
                    breadth: at.breadth + shelf_breadth,
                };
                shelf_breadth = 0.0;
            }
            let corner = at;
            at.depth += depth;
            shelf_breadth = shelf_breadth.max(breadth);
            corner
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Spacing = Spacing {
        depth: 200.0,
        breadth: 80.0,
        waypoint: 20.0,
        aspect: 0.6,
    };

    fn check(needs: &[&[u32]], expect: &[(f64, f64)]) {
        let needs: Vec<Vec<u32>> = needs.iter().map(|needs| needs.to_vec()).collect();
        let nodes = layout(&needs, SPACING).nodes;
        assert_eq!(
            nodes
                .iter()
                .map(|point| (point.depth, point.breadth))
                .collect::<Vec<_>>(),
            expect
        );
    }

    #[test]
    fn nothing_has_a_picture() {
        assert_eq!(layout(&[], SPACING), Layout::default());
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        check(
            &[&[], &[0], &[1]],
            &[(0.0, 0.0), (200.0, 0.0), (400.0, 0.0)],
        );
    }

    #[test]
    fn a_diamond_is_symmetric() {
        check(
            &[&[], &[0], &[0], &[1, 2]],
            &[(0.0, 40.0), (200.0, 0.0), (200.0, 80.0), (400.0, 40.0)],
        );
    }

    #[test]
    fn crossed_edges_are_uncrossed() {
        // 2 needs 1 and 3 needs 0: the second rank turns around.
        let picture = layout(&[vec![], vec![], vec![1], vec![0], vec![2, 3]], SPACING);
        let above = |a: usize, b: usize| picture.nodes[a].breadth < picture.nodes[b].breadth;
        assert_eq!(above(0, 1), above(3, 2));
    }

    #[test]
    fn a_long_edge_passes_beside_the_nodes_between() {
        let picture = layout(&[vec![], vec![0], vec![0, 1]], SPACING);
        let long = picture
            .edges
            .iter()
            .find(|edge| (edge.from, edge.to) == (0, 2))
            .unwrap();
        assert_eq!(long.waypoints.len(), 1);
        assert!((long.waypoints[0].breadth - picture.nodes[1].breadth).abs() >= 49.0);
    }

    #[test]
    fn independent_tasks_form_a_grid() {
        let picture = layout(&vec![vec![]; 100], SPACING);
        assert!(
            picture.extent.depth >= 3.0 * SPACING.depth
                && picture.extent.breadth >= 3.0 * SPACING.breadth
        );
        let mut places: Vec<_> = picture
            .nodes
            .iter()
            .map(|p| (p.depth as u64, p.breadth as u64))
            .collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 100);
    }

    #[test]
    fn circles_and_places_that_do_not_exist_do_no_harm() {
        assert_eq!(
            layout(&[vec![1, 7], vec![0], vec![2]], SPACING).nodes.len(),
            3
        );
    }

    #[test]
    fn no_two_nodes_share_a_place() {
        let picture = layout(&random(2_000, 25, 3), SPACING);
        let mut nodes = picture.nodes;
        nodes.sort_by(|a, b| {
            a.depth
                .total_cmp(&b.depth)
                .then(a.breadth.total_cmp(&b.breadth))
        });
        for pair in nodes.windows(2) {
            let apart = pair[0].depth != pair[1].depth
                || pair[1].breadth - pair[0].breadth > SPACING.breadth - 1.01;
            assert!(apart, "{pair:?}");
        }
    }

    #[test]
    fn a_chain_that_always_needs_its_start_stays_bounded() {
        let needs: Vec<Vec<u32>> = (0..5_000_u32)
            .map(|i| if i == 0 { vec![] } else { vec![0, i - 1] })
            .collect();
        let picture = layout(&needs, SPACING);
        let waypoints: usize = picture.edges.iter().map(|edge| edge.waypoints.len()).sum();
        assert!(waypoints <= 5_000 * WAYPOINTS_PER_NODE + WAYPOINTS_FREE);
    }

    #[test]
    fn five_thousand_nodes_take_a_blink() {
        let needs = random(5_000, 25, 2);
        let start = std::time::Instant::now();
        let _ = layout(&needs, SPACING);
        // 50 ms optimised; an unoptimised build on a busy machine is allowed ten times that.
        let most = if cfg!(debug_assertions) { 1_000 } else { 50 };
        assert!(start.elapsed().as_millis() < most, "{:?}", start.elapsed());
    }

    fn random(count: usize, ranks: usize, most: u64) -> Vec<Vec<u32>> {
        let width = count / ranks;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..count)
            .map(|node| {
                let Some(first) = (node / width).checked_sub(1).map(|rank| rank * width) else {
                    return Vec::new();
                };
                let mut needs: Vec<u32> = (0..1 + next() % most)
                    .map(|_| first as u32 + (next() % width as u64) as u32)
                    .collect();
                needs.sort_unstable();
                needs.dedup();
                needs
            })
            .collect()
    }
}
