package cloud

import (
	"errors"
	"fmt"
	"net/url"
	"syscall"
	"testing"
)

func TestErrorsHideSignatures(t *testing.T) {
	request := &url.Error{Op: "Put", URL: "https://account.blob.core.windows.net/c/x?sv=2026&sig=hunter2", Err: syscall.ECONNRESET}
	got := withoutSecrets(fmt.Errorf("upload: %w", request))
	want := `upload: Put "https://account.blob.core.windows.net/c/x": connection reset by peer`
	if got.Error() != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !errors.Is(got, syscall.ECONNRESET) {
		t.Error("the cause is lost")
	}
}
