//! Logins, more than are hashed, while sessions talk on.

mod flood;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::flood::Flood;
use super::load::Load;
use super::{close_all, under_load};
use crate::cli::{Common, Logins};
use crate::report::{LoginsReport, Summary, line};
use crate::run::{RunError, Underway};
use crate::schedule;

/// Behind the flood, until the last of it is answered and its memory is seen.
const CALM: Duration = Duration::from_secs(3);
/// The load goes on until the flood is over; far beyond any.
const LOAD_MAX: Duration = Duration::from_secs(100 * 3_600);

pub(super) async fn run(
    asked: &Logins,
    common: &Common,
    summary: &mut Summary,
    underway: &Underway,
) -> Result<(), RunError> {
    summary.scenario = "logins".into();
    let target = asked.login_target.as_deref().unwrap_or_else(|| common.bases()[0]).to_owned();
    let flood = Flood::prepare(&target, asked.logins, summary.seed, common).await?;
    let load = Load::prepare((asked.sessions as usize, asked.chats as usize), common, summary, underway).await?;
    let run = Arc::clone(&load.run);
    let mut report = LoginsReport::default();
    let seed = summary.seed;
    let lost = || run.recorder.losses().into_values().sum::<u64>();
    let both = async {
        let (stop, stopped) = oneshot::channel();
        let sending = load.send_all(schedule::Steady::new(asked.rate, LOAD_MAX), seed, async {
            // Whether it was said or dropped: the flood is over.
            stopped.await.unwrap_or(());
        });
        let flooding = async {
            tokio::time::sleep(asked.before).await;
            let before = lost();
            run.recorder.seconds.fault_begins(format!("{} logins a second", asked.logins));
            report.meanwhile.began_s = run.now().as_secs_f64();
            line(format_args!("{} logins a second from {} addresses", asked.logins, flood.addresses()));
            flood.offer(schedule::Steady::new(asked.logins, asked.duration), seed, &mut report).await?;
            report.meanwhile.ended_s = run.now().as_secs_f64();
            run.recorder.seconds.fault_ends();
            tokio::time::sleep(CALM).await;
            report.lost = lost().saturating_sub(before);
            drop::<oneshot::Sender<()>>(stop);
            Ok(())
        };
        tokio::try_join!(sending, flooding).map(drop)
    };
    let held = under_load(&run, load.sessions.len(), summary, both).await;
    run.recorder.seconds.fault_ends();
    report.meanwhile.compare(&run.recorder.seconds.all());
    summary.logins = Some(report);
    load.judge(summary, held?).await?;
    close_all(&run, load.sessions).await;
    Ok(())
}
