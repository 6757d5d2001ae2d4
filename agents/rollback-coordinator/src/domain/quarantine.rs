//! What tells a bad revision again when it comes under another name: the digest of its template, and the images that only
//! it had.

use serde_json::{Value, json};

/// Annotation of the workload with what rollbacks left, newest first: pipelines and admission may refuse it.
pub const QUARANTINE_ANNOTATION: &str = "ossa.io/quarantined";
/// Most entries of the annotation.
const MOST: usize = 10;
/// Length of a key's image part: keys of a store have 512 bytes at most.
const MAX_IMAGE: usize = 200;

/// Marks of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// Digest of the template.
    pub template: String,
    /// Images.
    pub images: Vec<String>,
}

impl Marks {
    /// The marks of a template with this digest: an image that the good template has too is not to blame.
    pub fn of(digest: String, images: Vec<String>, good: &[String]) -> Self {
        let blamed = images.into_iter().filter(|image| !good.contains(image));
        Self {
            template: digest,
            images: blamed.map(|image| known_as(&image)).collect(),
        }
    }

    /// Keys under which they are kept.
    pub fn keys(&self) -> impl Iterator<Item = String> + use<'_> {
        let template = format!("template:{}", self.template);
        let images = self.images.iter().map(|image| {
            let start = image.len().saturating_sub(MAX_IMAGE);
            let end = image.get(start..).unwrap_or(image);
            format!("image:{end}")
        });
        std::iter::once(template).chain(images)
    }
}

/// An image by its digest where the reference has one: the same content under another name is the same image.
fn known_as(image: &str) -> String {
    image
        .rsplit_once('@')
        .map_or_else(|| image.to_owned(), |(_, digest)| digest.to_owned())
}

/// The annotation with one more entry.
pub fn annotated(before: Option<&str>, marks: &Marks) -> String {
    let mut entries: Vec<Value> = before
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let entry = json!({"template": marks.template, "images": marks.images});
    entries.retain(|one| *one != entry);
    entries.insert(0, entry);
    entries.truncate(MOST);
    json!(entries).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_good_template_does_not_have_is_blamed() {
        let images = vec!["web:2".to_owned(), "sidecar:1".to_owned()];
        let marks = Marks::of("t".into(), images, &["web:1".into(), "sidecar:1".into()]);
        assert_eq!(
            marks.keys().collect::<Vec<_>>(),
            ["template:t", "image:web:2"]
        );
    }

    #[test]
    fn the_same_content_under_another_name_is_the_same_image() {
        let marks = |image: &str| Marks::of("t".into(), vec![image.to_owned()], &[]).images;
        assert_eq!(marks("web:2@sha256:aa"), marks("mirror/web@sha256:aa"));
        assert_ne!(marks("web@sha256:aa"), marks("web@sha256:bb"));
        let long = Marks::of("t".into(), vec!["r/".repeat(400)], &[]);
        assert!(long.keys().all(|key| key.len() < 300));
    }

    #[test]
    fn the_annotation_keeps_the_newest_ten() {
        let mark = |number: usize| Marks::of(number.to_string(), Vec::new(), &[]);
        let first = annotated(Some("no list"), &mark(0));
        assert_eq!(first, r#"[{"images":[],"template":"0"}]"#);
        assert_eq!(annotated(Some(&first), &mark(0)), first);
        let many = (1..20).fold(first, |text, number| annotated(Some(&text), &mark(number)));
        let entries: Vec<Value> = serde_json::from_str(&many).unwrap();
        assert_eq!(entries.len(), MOST);
        assert_eq!(entries[0]["template"], "19");
    }
}
