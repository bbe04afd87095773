//! Devices without a browser (RFC 8628): the person types a code elsewhere, and the device polls meanwhile. Each poll of a
//! device is one of the provider, and no more often than the provider wants.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use panda_access::FlowStep;
use panda_protocol::{ErrorCode, Time};
use panda_storage::cache::RateLimit;
use panda_storage::{Cache as _, UserStore as _};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Peer;
use super::super::body::{Body, InPath, Json};
use super::super::identity::take_address;
use super::super::logins::{Granted, parse_label};
use super::super::problem::{Answer, Problem};
use super::accounts::log_in;
use super::flow::{self, Device, Told};
use super::{known, refusal};
use crate::Api;
use crate::backend::Backend;
use crate::providers::Polled;

/// By how much the time between polls grows that came too early (RFC 8628, section 3.5).
const SLOWER_S: u64 = 5;
/// The most seconds between polls.
const INTERVAL_S_MAX: u64 = 120;

/// A device that wants to be let in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginDevice {
    /// What the list of logins calls it.
    label: Option<String>,
}

/// What the person is shown, and what the device polls with.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceBegun {
    user_code: String,
    verification_uri: String,
    /// The same with the code in it, for a picture of it.
    verification_uri_complete: Option<String>,
    /// Seconds.
    expires_in: u64,
    /// Seconds between two polls.
    interval: u64,
    /// For the next poll.
    device: String,
}

/// A poll.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Poll {
    /// Of the answer before.
    device: String,
}

/// The person has not decided.
#[derive(Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// Seconds until the next poll.
    interval: u64,
    /// For the next poll.
    device: String,
}

#[utoipa::path(
    post,
    path = "/login/{provider}/device",
    tag = "identity",
    summary = "Begins a login of a device without a browser",
    params(("provider" = String, Path, description = "A name of `login_providers`")),
    request_body = BeginDevice,
    responses((status = 200, description = "What the person is shown", body = DeviceBegun)),
)]
pub(crate) async fn begin_device<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    InPath(provider): InPath<String>,
    Body(asked): Body<BeginDevice>,
) -> Answer<Json<DeviceBegun>> {
    parse_label(asked.label.as_deref())?;
    take_address(&api, peer).await?;
    let provider = known(&api, &provider)?;
    let grant = provider.begin_device().await.map_err(|error| refusal(provider, error))?;
    let device = Device {
        id: rand::random(),
        ends_us: flow::ends(&api, grant.expires_in),
        provider: provider.config.name.to_string(),
        device_code: grant.device_code,
        interval_s: grant.interval,
        label: asked.label,
    };
    Ok(Json(DeviceBegun {
        user_code: grant.user_code,
        verification_uri: grant.verification_uri,
        verification_uri_complete: grant.verification_uri_complete,
        expires_in: grant.expires_in,
        interval: grant.interval,
        device: flow::seal(&api, FlowStep::Device, &device)?,
    }))
}

#[utoipa::path(
    post,
    path = "/login/{provider}/device/poll",
    tag = "identity",
    summary = "Asks whether a device is let in",
    params(("provider" = String, Path, description = "A name of `login_providers`")),
    request_body = Poll,
    responses((status = 200, description = "Logged in; of an unknown person a user was made", body = Granted), (status = 202, description = "Not decided; poll again after `interval`", body = Waiting), (status = 401, description = "`token_invalid`, `token_expired`; `bad_credentials`: the person did not let it in")),
)]
pub(crate) async fn poll_device<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    InPath(provider): InPath<String>,
    Body(asked): Body<Poll>,
) -> Answer<Response> {
    let provider = known(&api, &provider)?;
    let device: Option<Device> = flow::open(&api, FlowStep::Device, &asked.device);
    let device = device.filter(|device| device.provider == provider.config.name.as_str());
    let device = device.ok_or_else(|| {
        Problem::new(ErrorCode::TokenInvalid).title("This is no device that began a login here; begin again.")
    })?;
    let over = || Problem::new(ErrorCode::TokenExpired).title("Nobody let this device in in time; begin again.");
    if flow::is_over(&api, device.ends_us) {
        return Err(over());
    }
    if too_early(&api, &device).await {
        return waiting(&api, slower(device));
    }
    match provider.poll_device(&device.device_code).await.map_err(|error| refusal(provider, error))? {
        Polled::Pending => waiting(&api, device),
        Polled::SlowDown => waiting(&api, slower(device)),
        Polled::Expired => Err(over()),
        Polled::Denied => Err(Problem::new(ErrorCode::BadCredentials).title("This device was not let in.")),
        Polled::Person(person) => {
            // The provider gives its tokens once; so does this.
            if !api.parts.users.use_code(device.id, Time(device.ends_us), api.now()).await? {
                return Err(Problem::new(ErrorCode::TokenInvalid).title("This device was let in already."));
            }
            let label = device.label()?;
            let told = Told::new(&provider.config.name, person);
            Ok(Json(log_in(&api, &told, label).await?).into_response())
        }
    }
}

/// Whether it polls more often than it was told. A cache that is away lets it: the provider itself says so then.
async fn too_early<B: Backend>(api: &Api<B>, device: &Device) -> bool {
    // A little less: what left in time may come earlier than what left before it.
    let window = Duration::from_millis((device.interval_s * 1_000).saturating_sub(500));
    let key = [&b"device "[..], &device.id].concat();
    matches!(api.parts.cache.take(&key, RateLimit { count: 1, window }, api.now()).await, Ok(Err(_)))
}

fn slower(device: Device) -> Device {
    Device { interval_s: (device.interval_s + SLOWER_S).min(INTERVAL_S_MAX), ..device }
}

fn waiting<B: Backend>(api: &Api<B>, device: Device) -> Answer<Response> {
    let waiting = Waiting { interval: device.interval_s, device: flow::seal(api, FlowStep::Device, &device)? };
    Ok((StatusCode::ACCEPTED, Json(waiting)).into_response())
}
