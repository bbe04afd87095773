use super::*;

#[test]
fn a_curve_rises_and_ends_at_the_longest_time() {
    let mut times = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    assert_eq!(Curve::from(&times), Curve::default());
    (1..=100_000_u64).for_each(|us| times.record(us).unwrap());
    let curve = Curve::from(&times);
    assert_eq!((curve.count, curve.min_us), (100_000, 1));
    assert!(curve.points.len() < 200, "{}", curve.points.len());
    assert!(curve.points.windows(2).all(|pair| pair[0].quantile < pair[1].quantile && pair[0].us <= pair[1].us));
    let last = curve.points.last().unwrap();
    assert!(last.quantile >= 1.0 && last.us >= 100_000, "{last:?}");
    let median = curve.points.iter().find(|point| point.quantile >= 0.5).unwrap();
    assert!(median.us.abs_diff(50_000) < 100, "{median:?}");
}

#[test]
fn a_report_of_another_form_is_refused_with_what_to_do() {
    let refused = |json: &str| Report::from_json(json.as_bytes()).unwrap_err().to_string();
    assert!(refused("{}").contains("run it again"));
    assert!(refused("[]").contains("--json FILE"));
    assert!(refused(r#"{"report":2}"#).contains("version 2") && refused(r#"{"report":2}"#).contains("a newer one"));
    assert!(Report::from_json(br#"{"report":1,"a field of later":{}}"#).is_ok());
}

#[test]
fn a_session_costs_what_memory_grew_by() {
    let memory = Memory { name: "serve".into(), before_bytes: 1_000, held_bytes: 5_000, sessions: 2 };
    assert_eq!(memory.per_session_bytes(), Some(2_000.0));
    assert_eq!(Memory::default().per_session_bytes(), None);
    let hidden = Memory { before_bytes: 6_000, ..memory };
    assert_eq!(hidden.per_session_bytes(), None, "a server that shrank says nothing");
}

#[test]
fn memory_is_that_of_one_server_or_of_all_together() {
    let process = |name: &str, rss_bytes| Process { name: name.into(), rss_bytes, cpu_share: 0.1 };
    let second = |at_s, connected, servers| Second { at_s, connected, servers, ..Second::default() };
    let of = |names: &[&str]| {
        let servers = |rss| names.iter().map(|name| process(name, rss)).collect();
        let load = [(2.0, 1_500), (3.0, 1_600), (4.0, 1_400)];
        let load = load.map(|(at, rss)| second(at, 10, servers(rss)));
        memory(&[&[second(0.0, 0, servers(500))][..], &load].concat(), Some((1.5, 4.0)))
    };
    assert_eq!(of(&["serve"])[0].per_session_bytes(), Some(100.0));
    let both = of(&["edge-1", "router-1"]);
    assert_eq!((both[0].per_session_bytes(), both.len()), (None, 3));
    assert_eq!((both[2].name.as_str(), both[2].per_session_bytes()), (ALL_PROCESSES, Some(200.0)));
    assert_eq!(of(&[]), []);
    assert_eq!(memory(&[second(0.0, 5, Vec::new())], Some((0.0, 1.0))), [], "nobody knows what was before");
}

#[test]
fn the_seconds_of_the_load_are_those_behind_the_ramp() {
    let second = |at_s: f64| Second { at_s, span_s: 1.0, ..Second::default() };
    let mut report = Report::default();
    report.told.series = (1..=9_u8).map(|at| second(f64::from(at))).collect();
    assert_eq!(report.loaded().count(), 9);
    report.told.meta.load_s = Some((3.5, 7.0));
    assert_eq!(report.loaded().map(|second| second.at_s).collect::<Vec<_>>(), [5.0, 6.0, 7.0, 8.0]);
}
