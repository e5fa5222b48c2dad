package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"gocloud.dev/gcerrors"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// fail says what was done to which object and sorts the cause into the kinds of package blob.
func (b *Bucket) fail(ctx context.Context, op, name string, err error) error {
	var ours *blob.Error
	if errors.As(err, &ours) {
		return err
	}
	kind := kindOf(op, err)
	cause := withoutSecrets(withoutFrame(err))
	if kind == nil && ctx.Err() == nil && transient(err) {
		cause = blob.RetryableAfter(cause, retryAfter(err))
	}
	if kind == blob.ErrDenied {
		cause = fmt.Errorf("%w; %s", cause, advice(err))
	}
	switch {
	case op == "open":
		return &openError{b.place, kind, cause}
	case kind == blob.ErrNotFound || kind == blob.ErrExists:
		cause = nil // the service's wording adds nothing
	}
	return &blob.Error{Op: op, Name: name, Kind: kind, Err: cause}
}

// openError names the store and not an object: "open store s3://x: access to store denied: …".
type openError struct {
	place       string
	kind, cause error
}

func (e *openError) Error() string {
	switch e.kind {
	case nil:
		return "open store " + e.place + ": " + e.cause.Error()
	case blob.ErrNotFound:
		return "open store " + e.place + ": there is no such bucket: " + e.cause.Error()
	}
	return "open store " + e.place + ": " + e.kind.Error() + ": " + e.cause.Error()
}

func (e *openError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.cause}
	}
	return []error{e.kind, e.cause}
}

func kindOf(op string, err error) error {
	switch status := httpStatus(err); status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return blob.ErrDenied // before gocloud's opinion: it takes Google's 403 for "not found"
	case http.StatusInsufficientStorage:
		return blob.ErrNoSpace
	case http.StatusBadRequest:
		if expired[errorCode(err)] {
			return blob.ErrDenied // Amazon's status for it
		}
	case http.StatusPreconditionFailed:
		if op == "create" {
			return blob.ErrExists
		}
	}
	if op == "create" && bloberror.HasCode(err, bloberror.BlobAlreadyExists) {
		return blob.ErrExists // Azure's 409, undocumented for uploads
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return blob.ErrNotFound
	case gcerrors.PermissionDenied:
		return blob.ErrDenied
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		if op == "create" {
			return blob.ErrExists
		}
	}
	var noToken *oauth2.RetrieveError
	if errors.As(err, &noToken) && noToken.Response != nil && noToken.Response.StatusCode < 500 || noCredentials(err) {
		return blob.ErrDenied
	}
	return nil
}

// expired are the services' names for credentials whose time is over.
var expired = map[string]bool{
	"ExpiredToken": true, "ExpiredTokenException": true, "TokenRefreshRequired": true, "InvalidToken": true,
	"InvalidAuthenticationInfo": true, // Azure
	"authError":                 true, // Google
}

// advice says what to do about a denial.
func advice(err error) string {
	code := errorCode(err)
	switch {
	case expired[code]:
		return "the credentials have expired or are not valid any more: renew them and run this again"
	case code == "RequestTimeTooSkewed", code == "RequestExpired":
		return "the clock of this host differs too much from the service's: set it right and run this again"
	case code == "InvalidAccessKeyId", code == "SignatureDoesNotMatch", code == "AuthenticationFailed", code == "AuthorizationFailure":
		return "the service does not accept these credentials: check what this host is given (docs/stores.md, Credentials)"
	case noCredentials(err):
		return "no credentials were found (docs/stores.md, Credentials)"
	}
	return "the credentials lack a right that this needs (docs/stores.md, Permissions)"
}

// noCredentials knows the three ways of saying that nothing was found to sign a request with. None has a type of its own.
func noCredentials(err error) bool {
	text := err.Error()
	return strings.Contains(text, "get credentials:") || // Amazon
		strings.Contains(text, "could not find default credentials") || // Google
		strings.Contains(text, "DefaultAzureCredential") // Azure
}

// httpStatus returns the status of the service's answer, 0 when there was none.
func httpStatus(err error) int {
	var amazon interface{ HTTPStatusCode() int }
	var google *googleapi.Error
	var azure *azcore.ResponseError
	switch {
	case errors.As(err, &amazon):
		return amazon.HTTPStatusCode()
	case errors.As(err, &google):
		return google.Code
	case errors.As(err, &azure):
		return azure.StatusCode
	}
	return 0
}

// errorCode returns the service's own name for what went wrong, empty when it gave none.
func errorCode(err error) string {
	var amazon interface{ ErrorCode() string }
	var google *googleapi.Error
	var azure *azcore.ResponseError
	switch {
	case errors.As(err, &amazon):
		return amazon.ErrorCode()
	case errors.As(err, &google) && len(google.Errors) > 0:
		return google.Errors[0].Reason
	case errors.As(err, &azure):
		return azure.ErrorCode
	}
	return ""
}

// retryAfter returns what the service's answer says in whole seconds, 0 when it says nothing.
func retryAfter(err error) time.Duration {
	var amazon *awshttp.ResponseError
	var google *googleapi.Error
	var azure *azcore.ResponseError
	var h http.Header
	switch {
	case errors.As(err, &amazon) && amazon.Response != nil && amazon.Response.Response != nil:
		h = amazon.Response.Header
	case errors.As(err, &google):
		h = google.Header
	case errors.As(err, &azure) && azure.RawResponse != nil:
		h = azure.RawResponse.Header
	}
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// spoilt are the services' names for an upload that did not arrive as it was sent, or not in time.
var spoilt = map[string]bool{
	"BadDigest": true, "IncompleteBody": true, "XAmzContentSHA256Mismatch": true, "XAmzContentChecksumMismatch": true, "RequestTimeout": true,
	"Md5Mismatch": true, // Azure
}

// transient tells whether the error may go away by itself.
func transient(err error) bool {
	if blob.IsRetryable(err) {
		return true
	}
	switch status := httpStatus(err); {
	case status == http.StatusBadRequest && spoilt[errorCode(err)]:
		return true
	case status == http.StatusConflict: // two conditional writes met; the service asks to repeat
		return true
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return true
	case status == http.StatusNotImplemented:
		return false
	case status >= 500:
		return true
	case status >= 300:
		return false
	}
	// No complete answer: the connection failed, or broke in the middle of one.
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case errors.As(err, &cert), errors.As(err, &authority):
		return false
	}
	if altered(err) {
		return true // on the way, as far as anybody can tell
	}
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// altered knows what the clients say when an answer does not match the service's checksum. Neither has a type of its own.
func altered(err error) bool {
	text := err.Error()
	return strings.Contains(text, "checksum did not match") || // Amazon
		strings.Contains(text, "bad CRC on read") // Google
}

// withoutFrame removes gocloud's layer, which repeats the key and adds "(code=Unknown)".
func withoutFrame(err error) error {
	if u, ok := err.(interface{ Unwrap() []error }); ok && strings.HasPrefix(err.Error(), "blob (") {
		if inner := u.Unwrap(); len(inner) > 0 && inner[0] != nil {
			return inner[0]
		}
	}
	return err
}

// scrubbed has another text than the error it holds.
type scrubbed struct {
	error
	text string
}

func (s scrubbed) Error() string { return s.text }
func (s scrubbed) Unwrap() error { return s.error }

// withoutSecrets removes the query of a request from the text: that is where Azure puts its access signature.
func withoutSecrets(err error) error {
	var azure *azcore.ResponseError
	if errors.As(err, &azure) { // its own text is a picture of the answer, nine lines high
		return scrubbed{err, strings.TrimSpace(fmt.Sprintf("the service answered %d %s %s", azure.StatusCode, http.StatusText(azure.StatusCode), azure.ErrorCode))}
	}
	var ue *url.Error
	if !errors.As(err, &ue) {
		return err
	}
	bare, _, found := strings.Cut(ue.URL, "?")
	if !found {
		return err
	}
	return scrubbed{err, strings.ReplaceAll(err.Error(), ue.URL, bare)}
}
