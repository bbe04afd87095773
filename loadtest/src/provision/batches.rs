//! How many chats fit in one request.

use panda_protocol::ids::ID_TEXT_LEN;

use super::ChatPlan;

/// Chats of a request.
pub(super) const CHATS_A_REQUEST: usize = 100;
/// Bytes of a request; the server takes 4 MiB.
pub(super) const REQUEST_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Cuts the plans into requests, each within both limits or of one chat alone.
pub(super) fn of_chats(plans: &[ChatPlan]) -> impl Iterator<Item = &[ChatPlan]> {
    let mut rest = plans;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |plan: &&ChatPlan| {
            // A member is its identifier, two quotes and a comma; 64 bytes are the fields' names. A
            // name may double by escapes.
            bytes += plan.members.len() * (ID_TEXT_LEN + 3) + 2 * (plan.key.len() + plan.name.len()) + 64;
            bytes <= REQUEST_BYTES_MAX
        };
        let count = rest.iter().take(CHATS_A_REQUEST).take_while(fits).count().max(1);
        let (batch, others) = rest.split_at_checked(count)?;
        rest = others;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(count: usize, members: usize) -> Vec<ChatPlan> {
        vec![ChatPlan { key: "k".into(), name: "n".into(), members: vec![0; members] }; count]
    }

    #[test]
    fn a_request_has_at_most_a_hundred_chats() {
        let plans = plans(250, 10);
        let sizes: Vec<usize> = of_chats(&plans).map(<[_]>::len).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(of_chats(&[]).count(), 0);
    }

    #[test]
    fn a_request_of_large_chats_keeps_below_the_servers_limit() {
        let plans = plans(20, 10_000);
        let sizes: Vec<usize> = of_chats(&plans).map(<[_]>::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 20);
        assert!(sizes.iter().all(|size| (1..=10).contains(size)), "{sizes:?}");
    }
}
