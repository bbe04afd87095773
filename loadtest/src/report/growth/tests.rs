use super::*;

fn json(curves: &serde_json::Value) -> Vec<u8> {
    let machine = serde_json::json!({ "cpu": "x", "cores": 2, "memory_bytes": 1, "kernel": "k" });
    let all = serde_json::json!({
        "growth": 1, "command": "ops/figures growth", "started": "2026-01-01", "commit": "c", "machine": machine, "curves": curves
    });
    serde_json::to_vec(&all).unwrap()
}

fn curve(points: &[(f64, &[f64])]) -> serde_json::Value {
    let points: Vec<_> = points.iter().map(|(x, runs)| serde_json::json!({ "x": x, "runs": runs })).collect();
    serde_json::json!({ "title": "Memory", "about": "RSS", "x": "sessions", "y": "KiB", "points": points })
}

#[test]
fn points_are_fitted_by_their_medians_and_told_with_the_factors() {
    let read = json(&serde_json::json!([curve(&[(100.0, &[210.0, 200.0, 90.0]), (10_000.0, &[20_000.0])])]));
    let growth = Growth::from_json(&read).unwrap();
    assert_eq!(growth.curves[0].factors(), (100.0, 100.0));
    assert!((growth.curves[0].fit.each - 2.0).abs() < 1e-9, "{:?}", growth.curves[0].fit);
    let said = growth.to_string();
    assert!(said.contains("100 times the sessions: 100.00 times as much"), "{said}");
    let again = Growth::from_json(&serde_json::to_vec(&growth).unwrap()).unwrap();
    assert_eq!(again, growth, "what was fitted is read back");
}

#[test]
fn what_no_line_can_be_drawn_through_is_refused_with_its_curve() {
    let refused = |curves: serde_json::Value| Growth::from_json(&json(&curves)).unwrap_err().to_string();
    assert!(refused(serde_json::json!([])).contains("0 curves"));
    assert!(refused(serde_json::json!([curve(&[(1.0, &[1.0])])])).contains("Memory: it has 1 points"));
    assert!(refused(serde_json::json!([curve(&[(1.0, &[1.0]), (2.0, &[0.0])])])).contains("at 2 sessions nothing"));
    assert!(refused(serde_json::json!([curve(&[(1.0, &[1.0]), (2.0, &[])])])).contains("at 2 sessions nothing"));
    assert!(refused(serde_json::json!([curve(&[(2.0, &[1.0]), (2.0, &[1.0])])])).contains("order"));
    assert!(Growth::from_json(b"{}").unwrap_err().to_string().contains("ops/figures growth"));
    let newer = String::from_utf8(json(&serde_json::json!([]))).unwrap().replace("\"growth\":1", "\"growth\":2");
    assert!(Growth::from_json(newer.as_bytes()).unwrap_err().to_string().contains("newer"));
}
