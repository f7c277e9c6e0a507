//! Compute kernels: what programs do for a living, each in a few lines.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

wit_bindgen::generate!({ world: "kernels", path: "wit" });

struct Kernels;

export!(Kernels);

/// Numbers without a pattern that shows.
fn noise(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Guest for Kernels {
    fn mandelbrot(width: u32, most: u32) -> u64 {
        let at = |pixel: u32, from: f64| from + 3.0 * f64::from(pixel) / f64::from(width);
        let mut all = 0;
        for y in 0..width {
            for x in 0..width {
                let (re, im) = (at(x, -2.0), at(y, -1.5));
                let (mut a, mut b, mut n) = (0.0, 0.0, 0);
                while n < most && a * a + b * b < 4.0 {
                    (a, b, n) = (a * a - b * b + re, 2.0 * a * b + im, n + 1);
                }
                all += u64::from(n);
            }
        }
        all
    }

    fn n_body(steps: u32) -> f64 {
        // Position, velocity, mass: the sun, Jupiter, Saturn (Computer Language Benchmarks Game).
        let mut bodies: [([f64; 3], [f64; 3], f64); 3] = [
            (
                [0.0; 3],
                [-0.000_4, -0.002_8, 0.000_02],
                39.478_417_604_357_43,
            ),
            (
                [
                    4.841_431_442_464_72,
                    -1.160_320_044_027_428_4,
                    -0.103_622_044_471_123_11,
                ],
                [
                    0.606_326_392_995_832,
                    2.811_986_844_916_26,
                    -0.025_218_361_659_887_6,
                ],
                0.037_693_674_870_389_5,
            ),
            (
                [
                    8.343_366_718_244_58,
                    4.124_798_564_124_305,
                    -0.403_523_417_114_321,
                ],
                [
                    -1.010_774_346_178_792_4,
                    1.825_662_371_230_411_9,
                    0.008_415_761_376_584_154,
                ],
                0.011_286_326_131_968_767,
            ),
        ];
        let step = 0.01;
        for _ in 0..steps {
            for i in 0..bodies.len() {
                for j in i + 1..bodies.len() {
                    let d: [f64; 3] = std::array::from_fn(|k| bodies[i].0[k] - bodies[j].0[k]);
                    let square: f64 = d.iter().map(|x| x * x).sum();
                    let pull = step / (square * square.sqrt());
                    let (mine, theirs) = (bodies[i].2, bodies[j].2);
                    for k in 0..3 {
                        bodies[i].1[k] -= d[k] * theirs * pull;
                        bodies[j].1[k] += d[k] * mine * pull;
                    }
                }
            }
            for body in &mut bodies {
                for k in 0..3 {
                    body.0[k] += step * body.1[k];
                }
            }
        }
        bodies
            .iter()
            .map(|(_, v, mass)| mass * v.iter().map(|x| x * x).sum::<f64>() / 2.0)
            .sum()
    }

    fn sha256(length: u32) -> Vec<u8> {
        let bytes: Vec<u8> = (0..length).map(|i| noise(i.into()) as u8).collect();
        Sha256::digest(&bytes).to_vec()
    }

    fn matrix(size: u32) -> f64 {
        let n = size as usize;
        let filled = |salt: u64| -> Vec<f64> {
            (0..n * n)
                .map(|i| noise(i as u64 ^ salt) as f64 / 1e18)
                .collect()
        };
        let (a, b) = (filled(1), filled(2));
        let mut product = vec![0.0; n * n];
        for i in 0..n {
            for k in 0..n {
                for j in 0..n {
                    product[i * n + j] += a[i * n + k] * b[k * n + j];
                }
            }
        }
        (0..n).map(|i| product[i * n + i]).sum()
    }

    fn sort(count: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..count).map(|i| noise(i.into()) as u32).collect();
        numbers.sort_unstable();
        numbers.into_iter().step_by(100).collect()
    }

    fn json(count: u32) -> f64 {
        let object = |i: u32| {
            format!(
                "{{\"id\":{i},\"name\":\"n\\\"{i}\",\"tags\":[true,null],\"x\":{:e}}}",
                f64::from(i) / 7.0
            )
        };
        let text = format!("[{}]", (0..count).map(object).collect::<Vec<_>>().join(","));
        let read: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
        read.iter().filter_map(|object| object["x"].as_f64()).sum()
    }

    fn regex(pattern: String, length: u32) -> Result<u32, String> {
        let pattern = regex_lite::Regex::new(&pattern).map_err(|error| error.to_string())?;
        let text: String = (0..length)
            .map(|i| char::from(b'a' + (noise(i.into()) % 4) as u8))
            .collect();
        Ok(pattern.find_iter(&text).count() as u32)
    }

    fn blur(width: u32, height: u32, radius: u32) -> Vec<u8> {
        let (w, h, r) = (width as i64, height as i64, i64::from(radius));
        let picture: Vec<u8> = (0..w * h).map(|i| noise(i as u64) as u8).collect();
        let mut blurred = Vec::with_capacity(picture.len());
        for y in 0..h {
            for x in 0..w {
                let (mut sum, mut count) = (0_u32, 0_u32);
                for v in (y - r).max(0)..=(y + r).min(h - 1) {
                    for u in (x - r).max(0)..=(x + r).min(w - 1) {
                        sum += u32::from(picture[(v * w + u) as usize]);
                        count += 1;
                    }
                }
                blurred.push((sum / count) as u8);
            }
        }
        blurred
    }

    fn float_bits(rounds: u32) -> Vec<u64> {
        let mut x = [0.0, -0.0, 1.5, -2.5e-310, f64::MAX, f64::INFINITY];
        for i in 0..rounds {
            let i = i as usize;
            let (a, b) = (x[i % 6], x[(i + 1) % 6]);
            x[i % 6] = match i % 7 {
                0 => a + b,
                1 => a - b * 0.5,
                2 => a * 1.000_1,
                3 => a / (b + 0.1),
                4 => a.abs().sqrt(),
                5 => a.min(b).floor(),
                _ => f64::from(a as f32),
            };
        }
        // Which NaN it is depends on the machine; that it is one does not.
        x.iter()
            .map(|x| {
                if x.is_nan() {
                    f64::NAN.to_bits()
                } else {
                    x.to_bits()
                }
            })
            .collect()
    }

    fn hashing_order(count: u32) -> Vec<u32> {
        let set: HashSet<u32> = (0..count).collect();
        set.into_iter().collect()
    }
}
