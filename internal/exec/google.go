// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/handover"
)

// credentialsVariable names the file in which Google's libraries find their credentials.
const credentialsVariable = "GOOGLE_APPLICATION_CREDENTIALS"

// memory is where a file lies that no disk sees; every container has it.
const memory = "/dev/shm"

func readable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// google completes the credentials file for Google's libraries, if the container has one, and serves what they ask for until end is called.
func google(ctx context.Context, environment []string, c clock.PassiveClock) (completed []string, end func(), err error) {
	file := ""
	for _, entry := range environment {
		if value, found := strings.CutPrefix(entry, credentialsVariable+"="); found {
			file = value
		}
	}
	if !readable(file) {
		return environment, func() {}, nil // the command will say so itself, if it wants one
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the credentials file: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("serving Google's libraries on loopback: %w", err)
	}
	// The path keeps others of the Pod, who share its loopback, from finding the service by chance; it holds no secret.
	path := "/" + rand.Text()
	text, err = handover.Complete(text, "http://"+listener.Addr().String()+path)
	if err != nil {
		return environment, func() {}, listener.Close() // it is the command's own
	}
	dir, err := os.MkdirTemp(memory, "valetkey-")
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("completing the credentials file: %w", err), listener.Close())
	}
	place := filepath.Join(dir, "credentials")
	if err := os.WriteFile(place, text, 0o400); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("completing the credentials file: %w", err), listener.Close(), os.RemoveAll(dir))
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+path, handover.Handler(c))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return append(environment, credentialsVariable+"="+place), func() { _ = errors.Join(server.Close(), os.RemoveAll(dir)) }, nil
}
