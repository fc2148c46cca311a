//! The result files of a whole run can be parsed.

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::fake_lookupd::Fault;
use super::oracle::{FLEET, run_against};
use crate::report::{files, table};

#[test]
fn run_writes_a_table_json_hlog_and_a_self_contained_page() {
    let results = run_against(Fault::None, FLEET);
    let directory = std::env::temp_dir().join(format!("loadgen-files-{}", std::process::id()));
    let out = files::OutputDirectory::prepare(&directory).expect("a temporary directory");
    let said = files::write(&results, &out).expect("it can be written");
    assert!(said.contains("test.html"));
    let read =
        |ending: &str| std::fs::read(directory.join(format!("test.{ending}"))).expect(ending);

    let json: serde_json::Value = serde_json::from_slice(&read("json")).expect("JSON");
    assert_eq!((&json["form"], &json["exit"]), (&3.into(), &0.into()));
    let lookups = json["latency"]["lookup"]["corrected"]["count"].as_u64().expect("a count");
    assert!(lookups > 50 && json["environment"]["kernel"].is_string());

    let hlog = read("hlog");
    let tagged = IntervalLogIterator::new(&hlog).filter(|entry| match entry {
        Ok(LogEntry::Interval(interval)) => {
            interval.tag().is_some_and(|tag| tag.as_str() == "lookup.corrected")
        }
        Ok(LogEntry::BaseTime(_) | LogEntry::StartTime(_)) => false,
        Err(error) => panic!("{error:?}"),
    });
    assert!(tagged.count() >= 1);

    let html = String::from_utf8(read("html")).expect("UTF-8");
    assert!(html.matches("<svg").count() >= 5 && html.contains("latency spectrum"));
    for outside in ["http-equiv", "src=", "<link", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    let table = table::table(&results);
    assert!(table.contains("lookup corrected") && table.contains("the generator kept up"));
    std::fs::remove_dir_all(directory).expect("it was made above");
}
