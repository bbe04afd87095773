//! From what somebody sent to the picture that is kept: decoded within limits, cut to a square, and written anew, so that
//! nothing of the file but its pixels is left.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::error::ImageError;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};
use panda_storage::pictures::PictureFormat;

/// Pixels of each side of a picture that is sent.
pub(crate) const SIDE_MAX: u32 = 8_192;
/// Pixels of a picture that is sent: those of the larger cameras.
pub(crate) const PIXELS_MAX: u64 = 25_000_000;
/// Bytes of the pixels of a picture that is sent; what its decoder needs besides may be twice that.
const PIXEL_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Pixels of each side of a picture that is kept; a smaller one stays as small.
pub(crate) const KEPT_SIDE_MAX: u32 = 512;
/// Of 100. Faces look good, and a picture has some 50 KiB.
const JPEG_QUALITY: u8 = 85;

/// Why no picture was made. The text is for the person who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenderError {
    /// Of none of the formats, or broken.
    #[error("this is not a whole picture in JPEG, PNG or WebP")]
    Form,
    /// More pixels than are taken.
    #[error(
        "a picture may have at most 8,192 pixels on each side and 25 million in all, at 8 bits a channel; send a smaller one"
    )]
    TooLarge,
}

/// A picture as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) format: PictureFormat,
    pub(crate) bytes: Vec<u8>,
}

/// Makes the picture that is kept. It takes seconds of a processor at the worst.
pub(crate) fn render(sent: &[u8]) -> Result<Rendered, RenderError> {
    let (picture, orientation) = decode(sent)?;
    let mut picture = square(picture);
    picture.apply_orientation(orientation);
    // Writing to memory fails only for what cannot be written in the format, and these two take what is given here.
    encode(&picture).map_err(|_| RenderError::Form)
}

fn decode(sent: &[u8]) -> Result<(DynamicImage, Orientation), RenderError> {
    // What the first bytes say, and neither a name nor a header.
    let format = image::guess_format(sent).map_err(|_| RenderError::Form)?;
    if !matches!(format, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP) {
        return Err(RenderError::Form);
    }
    let mut reader = ImageReader::with_format(Cursor::new(sent), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(PIXEL_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| refusal(&error))?;
    let (width, height) = decoder.dimensions();
    // Asked for before anything is made room for.
    if u64::from(width) * u64::from(height) > PIXELS_MAX || decoder.total_bytes() > PIXEL_BYTES_MAX {
        return Err(RenderError::TooLarge);
    }
    // One that is not understood is none.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| refusal(&error))?;
    Ok((picture, orientation))
}

/// The square in the middle, no larger than what is kept. It is cut first: a line of pixels made as high as a square would
/// fill the memory.
fn square(picture: DynamicImage) -> DynamicImage {
    let side = picture.width().min(picture.height());
    let (x, y) = ((picture.width() - side) / 2, (picture.height() - side) / 2);
    let cut = if picture.width() == picture.height() { picture } else { picture.crop_imm(x, y, side, side) };
    if side <= KEPT_SIDE_MAX {
        return cut;
    }
    cut.resize_exact(KEPT_SIDE_MAX, KEPT_SIDE_MAX, FilterType::CatmullRom)
}

fn encode(picture: &DynamicImage) -> Result<Rendered, ImageError> {
    let mut bytes = Vec::new();
    let pixels = picture.to_rgba8();
    let shines_through = picture.color().has_alpha() && pixels.pixels().any(|pixel| pixel.0[3] != u8::MAX);
    let format = if shines_through {
        let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, PngFilter::Adaptive);
        pixels.write_with_encoder(encoder)?;
        PictureFormat::Png
    } else {
        JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(&picture.to_rgb8())?;
        PictureFormat::Jpeg
    };
    Ok(Rendered { format, bytes })
}

fn refusal(error: &ImageError) -> RenderError {
    match error {
        ImageError::Limits(_) => RenderError::TooLarge,
        _ => RenderError::Form,
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Rgb, Rgba};

    use super::*;

    fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Red on the left, blue on the right.
    fn halves(width: u32, height: u32) -> DynamicImage {
        DynamicImage::ImageRgb8(ImageBuffer::from_fn(width, height, |x, _| {
            if x < width / 2 { Rgb([250, 10, 10]) } else { Rgb([10, 10, 250]) }
        }))
    }

    fn read(rendered: &Rendered) -> DynamicImage {
        let format = match rendered.format {
            PictureFormat::Jpeg => ImageFormat::Jpeg,
            PictureFormat::Png => ImageFormat::Png,
        };
        image::load_from_memory_with_format(&rendered.bytes, format).unwrap()
    }

    #[test]
    fn every_format_becomes_a_square_of_its_middle() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let rendered = render(&written(&halves(1_500, 700), format)).unwrap();
            assert_eq!(rendered.format, PictureFormat::Jpeg, "{format:?}");
            let picture = read(&rendered).to_rgb8();
            assert_eq!(picture.dimensions(), (KEPT_SIDE_MAX, KEPT_SIDE_MAX), "{format:?}");
            assert!(picture.get_pixel(100, 256).0[0] > 200 && picture.get_pixel(400, 256).0[2] > 200, "{format:?}");
        }
    }

    #[test]
    fn a_small_picture_stays_as_small_and_a_line_becomes_a_point() {
        for (sent, side) in [((64, 64), 64), ((8_192, 1), 1), ((1, 3_000), 1), ((600, 513), 512)] {
            let rendered = render(&written(&halves(sent.0, sent.1), ImageFormat::Png)).unwrap();
            assert_eq!(read(&rendered).to_rgb8().dimensions(), (side, side), "{sent:?}");
        }
    }

    #[test]
    fn what_shines_through_goes_on_to() {
        let clear = DynamicImage::ImageRgba8(ImageBuffer::from_pixel(40, 40, Rgba([1, 2, 3, 0])));
        let rendered = render(&written(&clear, ImageFormat::Png)).unwrap();
        assert_eq!(rendered.format, PictureFormat::Png);
        assert_eq!(read(&rendered).to_rgba8().get_pixel(5, 5).0[3], 0);
        let full = DynamicImage::ImageRgba8(ImageBuffer::from_pixel(40, 40, Rgba([1, 2, 3, 255])));
        assert_eq!(render(&written(&full, ImageFormat::Png)).unwrap().format, PictureFormat::Jpeg);
    }

    /// A JPEG with an APP1 segment behind its start: this orientation, and a place on earth that must not go on.
    fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        exif.extend(b"GPS 48.2082 N 16.3738 E");
        let len = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &len[..], &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn a_picture_stands_upright_and_says_nothing_of_where_it_was_taken() {
        let sent = with_exif(&written(&halves(400, 400), ImageFormat::Jpeg), 6);
        let rendered = render(&sent).unwrap();
        assert!(!rendered.bytes.windows(4).any(|four| four == b"Exif" || four == b"GPS "));
        // Turned right by a quarter: what was left is up.
        let picture = read(&rendered).to_rgb8();
        assert!(picture.get_pixel(200, 50).0[0] > 200 && picture.get_pixel(200, 350).0[2] > 200);
    }

    /// A PNG that is nothing but its head.
    fn claims(width: u32, height: u32) -> Vec<u8> {
        let mut chunk = b"IHDR".to_vec();
        chunk.extend(width.to_be_bytes());
        chunk.extend(height.to_be_bytes());
        chunk.extend([16, 6, 0, 0, 0]);
        let sum = crc32fast::hash(&chunk).to_be_bytes();
        [&b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..], &chunk, &sum, b"\0\0\0\0IDAT"].concat()
    }

    #[test]
    fn what_claims_to_be_huge_is_refused_before_it_gets_memory() {
        for (width, height) in [(u32::MAX >> 1, 1), (1, 100_000), (8_192, 8_192), (5_001, 5_000), (4_500, 4_500)] {
            assert_eq!(render(&claims(width, height)), Err(RenderError::TooLarge), "{width} x {height}");
        }
    }

    #[test]
    fn what_is_no_picture_is_refused_and_nothing_else_happens() {
        let jpeg = written(&halves(100, 100), ImageFormat::Jpeg);
        let png = written(&halves(100, 100), ImageFormat::Png);
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
        for (what, bytes) in [
            ("nothing", &b""[..]),
            ("markup", svg),
            ("a GIF", b"GIF89a\x01\0\x01\0\0\0\0;"),
            ("a bitmap", b"BM\x1a\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\x01\0\x01\0\x01\0\x18\0\0\0\xff\0"),
            ("half a PNG", &png[..png.len() / 2]),
            ("the start of a JPEG", &jpeg[..20]),
            ("zeros", &[0; 4_096]),
        ] {
            assert_eq!(render(bytes), Err(RenderError::Form), "{what}");
        }
    }

    #[test]
    fn a_picture_with_any_byte_changed_harms_nobody() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let whole = written(&halves(24, 16), format);
            for at in 0..whole.len() {
                for mask in [0x01, 0x80, 0xff] {
                    let mut broken = whole.clone();
                    broken[at] ^= mask;
                    // Many a change is still a picture; none may end this thread.
                    render(&broken).ok();
                }
            }
        }
    }
}
