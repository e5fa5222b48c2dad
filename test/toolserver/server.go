// Package toolserver builds and runs servers that others wrote, for the packages that start one: s3server, gcsserver,
// azureserver.
//
// It knows none of them. Its invariants: versions are pinned in tools/, nothing is installed outside of a cache folder of
// the user, and a server never outlives the process that started it.
package toolserver

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"time"
)

// Run starts what command makes for a free address, and waits until a request of path there is answered. The
// caller ends it with stop.
func Run(command func(host, port string) *exec.Cmd, path string) (endpoint string, stop func() error, err error) {
	// Between finding a free port and listening on it somebody else may take it.
	for range 5 {
		if endpoint, stop, err = run(command, path); err == nil {
			return endpoint, stop, nil
		}
	}
	return "", nil, err
}

func run(command func(host, port string) *exec.Cmd, path string) (string, func() error, error) {
	host, port, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	var out bytes.Buffer // read only after the server has ended
	cmd := command(host, port)
	cmd.Stdout, cmd.Stderr = &out, &out
	ended := make(chan error, 1)
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		_ = cmd.Process.Kill() // it keeps nothing that would need a farewell
		var exit *exec.ExitError
		if err := <-ended; err != nil && !errors.As(err, &exit) {
			return err
		}
		return nil
	}
	endpoint := "http://" + net.JoinHostPort(host, port)
	if err := waitUntilHealthy(endpoint+path, ended); err != nil {
		if !errors.Is(err, errEnded) {
			_ = stop()
		}
		return "", nil, fmt.Errorf("%s: %w\n%s", cmd.Path, err, out.String())
	}
	return endpoint, stop, nil
}

func freeAddress() (host, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	return net.SplitHostPort(l.Addr().String())
}

var errEnded = errors.New("the server ended at once")

// waitUntilHealthy asks until the server answers. A loaded machine may take seconds. Any answer below 500 is one: a server
// that wants credentials says so with 403.
func waitUntilHealthy(url string, ended <-chan error) error {
	deadline := time.After(60 * time.Second)
	client := http.Client{Timeout: 5 * time.Second}
	for {
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode < http.StatusInternalServerError {
				return nil
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("%w: %v", errEnded, err)
		case <-deadline:
			return errors.New("the server did not become healthy in 60 seconds")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
