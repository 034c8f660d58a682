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
	"github.com/valetkey/valetkey/internal/delivery"
)

// skew is how far the clocks of a node and of the operator may differ.
const skew = time.Minute

// errOver says that the grant is over, or was before the command was started.
var errOver = errors.New("the grant is over; ask for another")

// held is what the container was given.
type held struct {
	// variables are for the command: NAME=value. Some of them are secret.
	variables []string
	// secrets are the values that are scrubbed.
	secrets []string
	// expires is when the grant is over.
	expires time.Time
	// google is the credentials file for Google's libraries; nil where none was delivered.
	google []byte
}

// load reads what the grant projected into the container. Before anything secret is read, it is known where it comes
// from and that the grant lives.
func (o Options) load() (*held, error) {
	table, err := readMounts()
	if err != nil {
		return nil, err
	}
	if err := table.checkProgram(); err != nil {
		return nil, err
	}
	f, err := openFolder(v1alpha1.MountPath, table)
	if err != nil {
		return nil, err
	}
	defer f.close()
	terms, err := f.terms()
	if err != nil {
		return nil, err
	}
	if err := living(terms, o.Clock.Now()); err != nil {
		return nil, err
	}
	return f.credential(terms)
}

// terms reads when the grant is over, and what else was delivered. The variable that says so too is not asked: a Job or
// a webhook may have set it.
func (f *folder) terms() (delivery.Terms, error) {
	text, err := f.read(v1alpha1.ExecTermsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return delivery.Terms{}, fmt.Errorf("the credential at %s has no file %s, which says when the grant is over: "+
			"the operator is of an older release than this valetkey-exec; upgrade the operator first",
			v1alpha1.MountPath, v1alpha1.ExecTermsFile)
	}
	if err != nil {
		return delivery.Terms{}, fmt.Errorf("the file %s cannot be read: %w", v1alpha1.ExecTermsFile, err)
	}
	terms, err := delivery.Decode(text)
	if err != nil {
		return delivery.Terms{}, fmt.Errorf("the file %s cannot be used: %w", v1alpha1.ExecTermsFile, err)
	}
	return terms, nil
}

// living returns an error unless the grant lives now. On a node whose clock is before the time at which the credential
// was issued, nobody can tell.
func living(terms delivery.Terms, now time.Time) error {
	if now.Before(terms.Issued.Add(-skew)) {
		return fmt.Errorf(
			"it cannot be told whether the grant is over: this node's clock says %s, and the credential was issued at %s; "+
				"set the node's clock",
			now.UTC().Format(time.RFC3339),
			terms.Issued.Format(time.RFC3339),
		)
	}
	if !now.Before(terms.Expires) {
		return errOver
	}
	return nil
}

func (f *folder) credential(terms delivery.Terms) (*held, error) {
	h := &held{expires: terms.Expires}
	text, err := f.read(v1alpha1.ExecSecretsFile)
	if err != nil || json.Unmarshal(text, &h.secrets) != nil {
		return nil, errors.New("the list of what is secret cannot be read; nothing is run that could not be scrubbed")
	}
	h.variables = append(h.variables, v1alpha1.ExecExpiresVariable+"="+terms.Expires.UTC().Format(time.RFC3339))
	for name, value := range terms.Variables {
		h.variables = append(h.variables, name+"="+value)
	}
	names, err := f.list(v1alpha1.ExecEnvironmentDir)
	if err != nil {
		return nil, fmt.Errorf("the credential's variables cannot be read: %w", err)
	}
	for _, name := range names {
		value, err := f.read(v1alpha1.ExecEnvironmentDir + "/" + name)
		if err != nil {
			return nil, fmt.Errorf("the variable %s cannot be read: %w", name, err)
		}
		h.variables = append(h.variables, strings.ToUpper(name)+"="+string(value))
	}
	if file, ours := strings.CutPrefix(terms.Variables[credentialsVariable], v1alpha1.MountPath+"/"); ours {
		if h.google, err = f.read(file); err != nil {
			return nil, fmt.Errorf("the credentials file for Google's libraries cannot be read: %w", err)
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
	err = os.WriteFile(place+".new", program, 0o555) //nolint:gosec // whoever runs in the container runs it
	if err != nil {
		return err
	}
	return os.Rename(place+".new", place)
}
