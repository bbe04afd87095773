//! What servers' processes count, as their pages of metrics say it.

use std::sync::Arc;

use crate::provision::Http;
use crate::run::RunError;

/// A page of metrics.
pub(super) struct Page {
    from: String,
    text: String,
}

impl Page {
    /// That of the process whose health is at `host:port`.
    pub(super) async fn of(health: &str) -> Result<Self, RunError> {
        let http: Arc<Http> = Http::new(&format!("http://{health}"), "");
        let text = http.get("/metrics").await?;
        Ok(Self { from: health.to_owned(), text: String::from_utf8_lossy(&text).into_owned() })
    }

    /// A counter without labels, if the process has it.
    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// One that it must have.
    pub(super) fn figure(&self, name: &str) -> Result<u64, RunError> {
        self.find(name).ok_or_else(|| {
            RunError::Usage(format!("the process at {} has no figure {name}; it is of an older release", self.from))
        })
    }
}

/// A counter of all these processes that have it, added up; `None` if none has.
pub(super) async fn sum_of(name: &str, healths: &[String]) -> Result<Option<u64>, RunError> {
    let mut sum = None;
    for health in healths {
        if let Some(figure) = Page::of(health).await?.find(name) {
            sum = Some(sum.unwrap_or(0) + figure);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_by_its_whole_name_and_one_that_is_not_there_is_told_with_whose_it_is() {
        let text = "# HELP a_total x\na_total_more 9\na_total 7\nb{c=\"d\"} 8\n".to_owned();
        let page = Page { from: "127.0.0.1:9600".into(), text };
        assert_eq!((page.find("a_total"), page.find("b"), page.find("c")), (Some(7), None, None));
        assert_eq!(page.figure("a_total").unwrap(), 7);
        assert!(page.figure("c").unwrap_err().to_string().contains("127.0.0.1:9600"));
    }

    #[tokio::test]
    async fn of_no_process_nothing_is_known() {
        assert_eq!(sum_of("a_total", &[]).await.unwrap(), None);
    }
}
