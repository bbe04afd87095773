//! The table in the README names tests that are there.

use std::fs;
use std::path::Path;

#[test]
fn every_case_of_the_table_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut cases = 0;
    for line in include_str!("README.md").lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let [_, case, test, file, _] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("not three columns: {line}");
        };
        let (test, file) = (test.trim_matches('`'), file.trim_matches('`'));
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{case}: {file}: {error}"));
        // A journey is a script: the sentence with which it would fail.
        let named = if file.starts_with("ops/journeys/") { test.to_owned() } else { format!("fn {test}(") };
        assert!(source.contains(&named), "{case}: {test} is not in {file}");
        cases += 1;
    }
    assert!(cases >= 40, "{cases} cases");
}
