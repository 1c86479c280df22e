//! The images of a data directory: loaded, listed, removed, whether a cluster runs or not.

use std::io::{Read, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use orchestra_core::runtime::ImageRef;
use orchestra_machine::native_directory;
use orchestra_runtime::images::{Store, Stored};
use orchestra_runtime::native::Images;

use crate::cli::{DataDir, Image};
use crate::directory;
use crate::progress::Progress;

/// After how many bytes it is said how far reading is.
const PIECE: u64 = 1 << 20;

pub(crate) async fn run(options: Image) -> anyhow::Result<()> {
    match options {
        Image::Load { file, name, data } => load(&open(&data).await?, &file, name.as_ref()).await,
        Image::Ls { data } => {
            print!("{}", table(&open(&data).await?.store().list()?));
            Ok(())
        }
        Image::Rm { images, data } => remove(&open(&data).await?, &images).await,
    }
}

async fn open(data: &DataDir) -> anyhow::Result<Images> {
    directory::prepare(&data.data_dir)?;
    let root = native_directory(&data.data_dir);
    Images::open(&root).await.with_context(|| format!("the images in {} cannot be read", root.display()))
}

async fn load(images: &Images, file: &Path, name: Option<&ImageRef>) -> anyhow::Result<()> {
    let progress = Progress::new();
    let spooled = match file == Path::new("-") {
        false => None,
        true => Some(spool(std::io::stdin().lock(), &progress)?),
    };
    let path = spooled.as_ref().map_or(file, |spooled| spooled.path());
    progress.begin("Unpacking", "its layers");
    let loaded = images.load(path, name).await;
    progress.close();
    for image in loaded.with_context(|| format!("{} cannot be loaded", file.display()))? {
        let names = if image.names.is_empty() { vec![image.id] } else { image.names };
        names.iter().for_each(|name| println!("Loaded image: {name}"));
    }
    Ok(())
}

/// Keeps what comes in a file, and says how much it is.
fn spool(mut from: impl Read, progress: &Progress) -> std::io::Result<tempfile::NamedTempFile> {
    let mut spooled = tempfile::NamedTempFile::new()?;
    let mut whole = 0;
    loop {
        progress.begin("Reading", &format!("{} MiB", whole >> 20));
        match std::io::copy(&mut from.by_ref().take(PIECE), &mut spooled)? {
            0 => break,
            count => whole += count,
        }
    }
    spooled.flush()?;
    Ok(spooled)
}

async fn remove(images: &Images, wanted: &[String]) -> anyhow::Result<()> {
    for image in wanted {
        let full = find(images.store(), image)?;
        let Some(full) = full else { bail!("there is no image {image}") };
        match images.untag(&full).await? {
            true => println!("Removed: {image}"),
            false => println!("Untagged: {image}"),
        }
    }
    Ok(())
}

/// The full name or the id of an image, from a name, an id, or so much of an id that no other begins so.
fn find(store: &Store, text: &str) -> anyhow::Result<Option<String>> {
    if let Ok(name) = ImageRef::parse(text)
        && store.find(name.full())?.is_some()
    {
        return Ok(Some(name.full().to_owned()));
    }
    let begins = |id: &str| id == text || id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(text));
    let mut found =
        store.list()?.into_iter().map(|image| image.id).filter(|id| text.len() >= 4 && begins(id));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => bail!("several images have an id that begins with {text}"),
        (found, _) => Ok(found),
    }
}

/// As Docker lists images: a line a name.
fn table(images: &[Stored]) -> String {
    let mut rows = vec![["IMAGE".to_owned(), "ID".to_owned(), "SIZE".to_owned()]];
    for image in images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        let size = format!("{:.1}MB", image.size as f64 / 1e6);
        let names = match image.names.as_slice() {
            [] => image.digests.iter().take(1).cloned().collect(),
            names => names.to_vec(),
        };
        let names = if names.is_empty() { vec!["<none>".to_owned()] } else { names };
        rows.extend(names.into_iter().map(|name| [name, id.clone(), size.clone()]));
    }
    let widths = [0, 1].map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line =
        |row: &[String; 3]| format!("{:<2$}   {:<3$}   {4}\n", row[0], row[1], widths[0], widths[1], row[2]);
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_kept_whole() {
        for size in [0, 1, 1 << 20, (5 << 20) + 7] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let kept = spool(&*bytes, &Progress::new()).unwrap();
            assert_eq!(std::fs::read(kept.path()).unwrap(), bytes);
        }
    }

    #[test]
    fn images_are_listed_a_name_a_line() {
        let image = |id: &str, names: &[&str], digests: &[&str]| Stored {
            id: format!("sha256:{}", id.repeat(32)),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            digests: digests.iter().map(|name| (*name).to_owned()).collect(),
            size: 3_149_000,
        };
        let shown = table(&[
            image("ab", &["docker.io/library/web:1", "r.example/web:2"], &["x@sha256:1"]),
            image("cd", &[], &["r.example/a@sha256:00"]),
            image("ef", &[], &[]),
        ]);
        let expected = "\
IMAGE                     ID             SIZE
docker.io/library/web:1   abababababab   3.1MB
r.example/web:2           abababababab   3.1MB
r.example/a@sha256:00     cdcdcdcdcdcd   3.1MB
<none>                    efefefefefef   3.1MB
";
        assert_eq!(shown, expected);
    }
}
