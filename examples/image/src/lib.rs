//! Pictures in, pictures out.

use std::io::Cursor;

use image::{
    DynamicImage, ImageEncoder as _, ImageReader, Limits,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};

wit_bindgen::generate!({ world: "image", path: "wit" });

struct Pictures;

export!(Pictures);

impl Guest for Pictures {
    fn crop(image: Vec<u8>, x: u32, y: u32, width: u32, height: u32) -> Result<Vec<u8>, String> {
        let image = decode(&image)?;
        let fits = |start: u32, length: u32, all: u32| start.checked_add(length).is_some_and(|end| length > 0 && end <= all);
        if !fits(x, width, image.width()) || !fits(y, height, image.height()) {
            let (all_width, all_height) = (image.width(), image.height());
            return Err(format!("{width}×{height} at ({x}, {y}) is not inside the picture of {all_width}×{all_height}"));
        }
        encode(&image.crop_imm(x, y, width, height))
    }

    fn rotate90(image: Vec<u8>) -> Result<Vec<u8>, String> {
        encode(&decode(&image)?.rotate90())
    }

    fn blur(image: Vec<u8>, sigma: f32) -> Result<Vec<u8>, String> {
        if !(sigma > 0.0 && sigma <= 100.0) {
            return Err(format!("sigma is {sigma}, it must be more than 0 and at most 100"));
        }
        encode(&decode(&image)?.blur(sigma))
    }

    fn grayscale(image: Vec<u8>) -> Result<Vec<u8>, String> {
        encode(&decode(&image)?.grayscale())
    }
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let undecodable = |error: &dyn std::fmt::Display| format!("the picture cannot be decoded: {error}");
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| undecodable(&e))?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(20_000), Some(20_000));
    reader.limits(limits);
    reader.decode().map_err(|error| undecodable(&error))
}

/// As PNG, fast: the next task decodes it at once.
fn encode(image: &DynamicImage) -> Result<Vec<u8>, String> {
    let mut png = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive);
    let written = encoder.write_image(image.as_bytes(), image.width(), image.height(), image.color().into());
    written.map_err(|error| format!("the picture cannot be encoded: {error}"))?;
    Ok(png)
}
