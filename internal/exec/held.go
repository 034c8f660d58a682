// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// held is what the container was given.
type held struct {
	// variables are for the command alone: NAME=value.
	variables []string
	// secrets are the values that are scrubbed.
	secrets []string
	// expires is when the grant is over; zero where nobody says.
	expires time.Time
}

// load reads what the grant projected into the container.
func load(mount string, environment []string) (*held, error) {
	text, err := os.ReadFile(filepath.Join(mount, v1alpha1.ExecSecretsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no credential at %s: this container is not the one that a grant was delivered to, or the grant is over", mount)
	}
	if err != nil {
		return nil, fmt.Errorf("the credential cannot be read: %w", err)
	}
	h := &held{}
	if json.Unmarshal(text, &h.secrets) != nil {
		return nil, errors.New("the list of what is secret cannot be read; nothing is run that could not be scrubbed")
	}
	dir := filepath.Join(mount, v1alpha1.ExecEnvironmentDir)
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the credential's variables cannot be read: %w", err)
	}
	for _, file := range files {
		if strings.HasPrefix(file.Name(), "..") { // a volume's own
			continue
		}
		value, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			return nil, fmt.Errorf("the variable %s cannot be read: %w", file.Name(), err)
		}
		h.variables = append(h.variables, strings.ToUpper(file.Name())+"="+string(value))
	}
	for _, entry := range environment {
		if value, found := strings.CutPrefix(entry, v1alpha1.ExecExpiresVariable+"="); found {
			if h.expires, err = time.Parse(time.RFC3339, value); err != nil {
				return nil, fmt.Errorf("the variable %s is no time", v1alpha1.ExecExpiresVariable)
			}
		}
	}
	return h, nil
}

// install copies this very program.
func install(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	place := filepath.Join(dir, "valetkey-exec")
	if err := os.WriteFile(place+".new", program, 0o555); err != nil { //nolint:gosec // whoever runs in the container runs it
		return err
	}
	return os.Rename(place+".new", place)
}
