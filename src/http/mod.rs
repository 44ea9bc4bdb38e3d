//! One HTTP request on a connection of its own. Of the answer only its head is read.
//!
//! No redirect is followed: whoever answers with one is told apart by its status, and nothing that was meant
//! for one host reaches another.

#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::http_url::HttpUrl;

/// A head of an answer that is larger is none, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;

const AGENT: &str = concat!("osc/", env!("CARGO_PKG_VERSION"));

/// What of an answer matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status.
    pub status: u16,
    /// When to come again, as `Retry-After` has it in seconds.
    pub retry_after: Option<Duration>,
}

/// Requests the head of `url`. Has no time limit; it may be dropped at any moment.
///
/// # Errors
/// When there is no connection, no trusted TLS, or no HTTP answer.
pub(crate) async fn head(url: &HttpUrl) -> io::Result<Answer> {
    send(url, Method::HEAD, HeaderMap::new(), Bytes::new()).await
}

/// Posts JSON to `url`. Has no time limit; it may be dropped at any moment.
///
/// # Errors
/// Those of [`head`], and for a header that is none.
pub(crate) async fn post_json(
    url: &HttpUrl,
    headers: &[(&'static str, String)],
    body: Bytes,
) -> io::Result<Answer> {
    let mut map = HeaderMap::new();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        map.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).map_err(io::Error::other)?,
        );
    }
    send(url, Method::POST, map, body).await
}

async fn send(
    url: &HttpUrl,
    method: Method,
    mut headers: HeaderMap,
    body: Bytes,
) -> io::Result<Answer> {
    headers.insert(header::HOST, HeaderValue::from_str(&url.authority).map_err(io::Error::other)?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = url.path.parse().map_err(io::Error::other)?;
    *request.headers_mut() = headers;
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    if url.tls {
        exchange(tls::over(stream, &url.host).await?, request).await
    } else {
        exchange(stream, request).await
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> io::Result<Answer> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LONGEST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(plain)?;
    let response = match select(pin!(sender.send_request(request)), pin!(connection)).await {
        Either::Left((response, _)) => response.map_err(plain)?,
        // The answer may have come before the end of the connection.
        Either::Right((ended, response)) => match (response.await, ended) {
            (Ok(response), _) => response,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(plain(error)),
        },
    };
    Ok(answer(&response))
}

fn answer<B>(response: &Response<B>) -> Answer {
    let seconds = response.headers().get(header::RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Answer { status: response.status().as_u16(), retry_after: seconds.map(Duration::from_secs) }
}

/// In words that need no knowledge of the library.
fn plain(error: hyper::Error) -> io::Error {
    let words = if error.is_parse() {
        "the answer is not HTTP"
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "the connection was closed without an answer"
    } else {
        return io::Error::other(error);
    };
    io::Error::new(io::ErrorKind::InvalidData, words)
}
