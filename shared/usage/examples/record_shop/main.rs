//! Writes the recorded metrics of the example shop: `cargo run -p usage --example record_shop -- examples/shop/metrics/shop.om.gz`.

use std::{error::Error, fs::File, io::Write, path::PathBuf};

mod shop;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("name the file to write")?;
    let mut packed =
        flate2::write::GzEncoder::new(File::create(path)?, flate2::Compression::best());
    packed.write_all(shop::record().as_bytes())?;
    packed.finish()?;
    Ok(())
}
