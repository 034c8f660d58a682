// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// redacted is all that is ever printed of a credential.
const redacted = "[credential]"

// Unprintable makes a type that embeds it print, log and marshal as a fixed word. Printing by reflection, as happens to a value in
// an unexported field, does not ask it: what is secret therefore stands behind a function beside it.
type Unprintable struct{}

// String hides the value.
func (Unprintable) String() string { return redacted }

// GoString hides the value from %#v.
func (Unprintable) GoString() string { return redacted }

// Format hides the value from every verb.
func (Unprintable) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON hides the value.
func (Unprintable) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText hides the value.
func (Unprintable) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalLog hides the value from logr.
func (Unprintable) MarshalLog() any { return redacted }

// LogValue hides the value from slog.
func (Unprintable) LogValue() slog.Value { return slog.StringValue(redacted) }

// Credential is what a back end issued. It cannot be printed, logged or marshalled, and its content is for projection alone.
type Credential struct {
	Unprintable
	id, principal    string
	expiresAt, works time.Time
	pointers         map[string]string
	// secret returns the files and the variables: no reflection looks into a function.
	secret func() (files, variables map[string]string)
	// values returns what is secret in them.
	values func() []string
}

// CredentialFields are what a back end makes a Credential from.
type CredentialFields struct {
	// ID and Principal identify it without being it.
	ID, Principal string
	// ExpiresAt is when the back end stops accepting it, at the earliest.
	ExpiresAt time.Time
	// Uncertain is how much later than that it may be: where the back end says how long, and not until when, nobody knows
	// when on the way to its answer the time began.
	Uncertain time.Duration
	// Files by their path below the mount: lower case letters, digits, - and _, with / between names.
	Files map[string]string
	// Variables with secret values.
	Variables map[string]string
	// Pointers are variables that are no secret: paths and settings. Their values hold no comma, for they travel in a list.
	Pointers map[string]string
	// Secrets are the values in files and variables that are secret themselves: the container's output is scrubbed of them.
	Secrets []string
	// Sent are the tokens and proofs that the back end was sent, or gave in exchange on the way. Whoever has one of them
	// has more than was asked for: an answer that repeats one is no credential.
	Sent []string
}

// What fits the grant's status.credential.
const (
	maxID        = 256
	maxPrincipal = 512
)

// The names that can be projected. A path and a variable's name never are the same key of a Secret.
var (
	pathForm     = regexp.MustCompile(`^[a-z0-9_-]{1,63}(/[a-z0-9_-]{1,63}){0,3}$`)
	variableForm = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,127}$`)
)

// NewCredential makes a Credential. One that is not whole, or that could not be projected as it is, is refused. The error names
// no value.
func NewCredential(f CredentialFields) (*Credential, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	files, variables, values := maps.Clone(f.Files), maps.Clone(f.Variables), slices.Clone(f.Secrets)
	if len(files) > 0 {
		files[v1alpha1.ExecSecretsFile] = list(values)
	}
	return &Credential{
		id: f.ID, principal: f.Principal, expiresAt: f.ExpiresAt, works: f.ExpiresAt.Add(f.Uncertain), pointers: maps.Clone(f.Pointers),
		secret: func() (map[string]string, map[string]string) { return files, variables },
		values: func() []string { return values },
	}, nil
}

// list is what valetkey-exec reads.
func list(values []string) string {
	text, _ := json.Marshal(values) // strings can always be encoded
	return string(text)
}

// ForExec is the same credential, to be used by valetkey-exec alone: what would be variables of the container are files, from which
// it makes variables of its command.
func (c *Credential) ForExec() *Credential {
	files, variables := c.Files(), c.Variables()
	if files == nil {
		files = map[string]string{}
	}
	for name, value := range variables {
		files[v1alpha1.ExecEnvironmentDir+"/"+strings.ToLower(name)] = value
	}
	files[v1alpha1.ExecSecretsFile] = list(c.values())
	exec := *c
	exec.secret = func() (map[string]string, map[string]string) { return files, nil }
	return &exec
}

func (f CredentialFields) validate() error {
	if f.ID == "" || f.ExpiresAt.IsZero() || len(f.Files)+len(f.Variables) == 0 {
		return errors.New("a credential has an identifier, an expiry and content")
	}
	if f.printsSecrets() {
		return errors.New("a credential's identifier, principal or another thing that is printed tells what is secret")
	}
	if slices.ContainsFunc(f.Sent, f.holds) {
		return errors.New("what was answered holds what was sent, or what was only given on the way")
	}
	if len(f.ID) > maxID || len(f.Principal) > maxPrincipal || !Plain(f.ID) || !Plain(f.Principal) {
		return errors.New("a credential's identifier and principal are of visible characters, and fit a grant's status")
	}
	if len(f.Secrets) == 0 || slices.ContainsFunc(f.Secrets, func(secret string) bool { return !f.holds(secret) }) {
		return errors.New("a credential says what in its files and variables is secret")
	}
	for path := range f.Files {
		if !pathForm.MatchString(path) || Reserved(path) {
			return fmt.Errorf("a credential's file cannot be named %q", path)
		}
	}
	for name, value := range f.Variables {
		if !variableForm.MatchString(name) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("a credential cannot have the variable %q", name)
		}
	}
	for name, value := range f.Pointers {
		_, secret := f.Variables[name]
		if secret || !variableForm.MatchString(name) || strings.Contains(value, ",") || !Plain(value) {
			return fmt.Errorf("a credential cannot have the pointer %q", name)
		}
	}
	return nil
}

// printsSecrets reports whether anything that is stored or shown in clear tells what is secret: it comes first of all
// checks, for the others name what they refuse.
func (f CredentialFields) printsSecrets() bool {
	printed := []string{f.ID, f.Principal}
	for _, all := range []map[string]string{f.Files, f.Variables, f.Pointers} {
		printed = slices.AppendSeq(printed, maps.Keys(all))
	}
	printed = slices.AppendSeq(printed, maps.Values(f.Pointers))
	secrets := append(slices.Clone(f.Secrets), f.Sent...)
	return slices.ContainsFunc(printed, func(text string) bool { return Tells(text, secrets...) })
}

const (
	// shortestSecret is how many characters a value has at the least before it is looked for: shorter ones, such as a
	// number or a word, stand everywhere by chance, and can be guessed anyway.
	shortestSecret = 4
	// shortestPart is how much of a secret a text repeats at the least before it is no chance.
	shortestPart = 8
)

// Tells reports whether a text holds one of the secrets, or half of one in one piece.
func Tells(text string, secrets ...string) bool {
	return slices.ContainsFunc(secrets, func(secret string) bool {
		if len(secret) < shortestSecret {
			return false
		}
		part := min(len(secret), max(shortestPart, (len(secret)+1)/2))
		for begin := 0; begin+part <= len(secret); begin++ {
			if strings.Contains(text, secret[begin:begin+part]) {
				return true
			}
		}
		return false
	})
}

// reservedFolder is where Valetkey keeps what it tells valetkey-exec.
const reservedFolder = "exec"

// Reserved reports whether a credential's file would lie where Valetkey's own files are.
func Reserved(path string) bool { return Below(path, reservedFolder) }

// Below reports whether a path is a folder or lies in it.
func Below(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// holds reports whether a value stands in the files or the variables.
func (f CredentialFields) holds(value string) bool {
	if value == "" {
		return false
	}
	for _, all := range []map[string]string{f.Files, f.Variables} {
		for _, content := range all {
			if strings.Contains(content, value) {
				return true
			}
		}
	}
	return false
}

// Plain reports whether a value is of visible ASCII characters alone: nothing that could begin another line of a file, or hide.
func Plain(value string) bool {
	return strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// ID identifies the credential in the back end's log.
func (c *Credential) ID() string { return c.id }

// Principal is what it acts as.
func (c *Credential) Principal() string { return c.principal }

// ExpiresAt is when the back end stops accepting it, at the earliest: nobody should count on it for longer.
func (c *Credential) ExpiresAt() time.Time { return c.expiresAt }

// WorksUntil is when the back end has stopped accepting it: a copy may work until then.
func (c *Credential) WorksUntil() time.Time { return c.works }

// Files are the secret files by path, for projection alone.
func (c *Credential) Files() map[string]string {
	files, _ := c.secret()
	return maps.Clone(files)
}

// Variables are the secret variables, for projection alone.
func (c *Credential) Variables() map[string]string {
	_, variables := c.secret()
	return maps.Clone(variables)
}

// Pointers are the variables that are no secret.
func (c *Credential) Pointers() map[string]string { return maps.Clone(c.pointers) }
