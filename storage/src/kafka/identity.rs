//! Which log this is: the cluster's ID, and the ID that its topic got when it was made.
//!
//! The client library knows topics' IDs, and the crate around it does not yet say them.

#![allow(unsafe_code, reason = "the crate has no safe way to ask for a topic's ID")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::client::Client;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

use super::client::{Quiet, failure};
use super::topic::Admin;
use crate::epoch_store::LogIdentity;
use crate::error::StoreError;

/// Asks who the cluster is and which topic bears the name. Blocks, at most about twice `timeout`.
pub(super) fn ask(admin: &Admin, topic: &str, timeout: Duration) -> Result<LogIdentity, StoreError> {
    let client = admin.get()?.inner();
    let cluster = client.fetch_cluster_id(timeout);
    let cluster = cluster.ok_or_else(|| StoreError::Unavailable("the brokers did not name their cluster".into()))?;
    let topic = topic_id(client, topic, timeout)
        .map_err(|code| failure("asking for its topic's ID", &KafkaError::MetadataFetch(code.into())))?;
    Ok(LogIdentity { cluster, topic })
}

fn topic_id(client: &Client<Quiet>, topic: &str, timeout: Duration) -> Result<String, RDKafkaRespErr> {
    const AWAY: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT;
    const WRONG: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR__INVALID_ARG;
    let pointer = client.native_ptr();
    let name = CString::new(topic).map_err(|_| WRONG)?;
    let wait = c_int::try_from(timeout.as_millis()).map_err(|_| WRONG)?;
    let mut names: [*const c_char; 1] = [name.as_ptr()];
    // SAFETY: `pointer` is of `client`, which lives on. What is made here is destroyed here, once, behind its
    // last use; what the event owns (its result, the topics, their errors and IDs, the texts) is copied
    // before the event is destroyed. `names` holds one pointer, and its text outlives the call, which
    // copies it. A result that does not hold the topic is not looked into.
    unsafe {
        let queue = bindings::rd_kafka_queue_new(pointer);
        let topics = bindings::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let operation = bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = bindings::rd_kafka_AdminOptions_new(pointer, operation);
        bindings::rd_kafka_AdminOptions_set_request_timeout(options, wait, ptr::null_mut(), 0);
        bindings::rd_kafka_DescribeTopics(pointer, topics, options, queue);
        bindings::rd_kafka_AdminOptions_destroy(options);
        bindings::rd_kafka_TopicCollection_destroy(topics);
        // The operation ends by itself at its own timeout, so that its event always comes.
        let event = bindings::rd_kafka_queue_poll(queue, wait.saturating_add(1_000));
        let found = if event.is_null() { Err(AWAY) } else { described(event) };
        if !event.is_null() {
            bindings::rd_kafka_event_destroy(event);
        }
        bindings::rd_kafka_queue_destroy(queue);
        found
    }
}

/// The ID in an answer.
///
/// # Safety
/// `event` is an event that was polled and not destroyed.
unsafe fn described(event: *mut bindings::rd_kafka_event_t) -> Result<String, RDKafkaRespErr> {
    const NONE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    const UNKNOWN: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    // SAFETY: as of the caller; every pointer is looked at before it is followed.
    unsafe {
        let failed = bindings::rd_kafka_event_error(event);
        if failed != NONE {
            return Err(failed);
        }
        let result = bindings::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(UNKNOWN);
        }
        let mut count = 0;
        let topics = bindings::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count != 1 || (*topics).is_null() {
            return Err(UNKNOWN);
        }
        let error = bindings::rd_kafka_TopicDescription_error(*topics);
        if !error.is_null() && bindings::rd_kafka_error_code(error) != NONE {
            return Err(bindings::rd_kafka_error_code(error));
        }
        let id = bindings::rd_kafka_TopicDescription_topic_id(*topics);
        let text = if id.is_null() { ptr::null() } else { bindings::rd_kafka_Uuid_base64str(id) };
        if text.is_null() {
            return Err(UNKNOWN);
        }
        Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
