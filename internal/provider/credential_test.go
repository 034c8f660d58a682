// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/yaml"
)

const material = "very-secret-material"

func fields() CredentialFields {
	return CredentialFields{
		ID: "AKIA1", Principal: "arn:aws:sts::123456789012:assumed-role/r/s", ExpiresAt: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC),
		Files:     map[string]string{"aws/credentials": material},
		Variables: map[string]string{"AWS_SECRET_ACCESS_KEY": material},
		Pointers:  map[string]string{"AWS_REGION": "us-east-1"},
		Secrets:   []string{material},
	}
}

func mustCredential(t *testing.T) *Credential {
	t.Helper()
	c, err := NewCredential(fields())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACredentialIsPrintedNowhere(t *testing.T) {
	c := mustCredential(t)
	type holder struct {
		pointer *Credential
		value   Credential
		any     any
	}
	held := holder{pointer: c, value: *c, any: *c}
	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%p", "%T"} {
		for what, value := range map[string]any{"pointer": c, "value": *c, "inside a struct": held, "inside a struct's pointer": &held, "inside a slice": []Credential{*c}, "inside a map": map[string]*Credential{"c": c}, "wrapped": []any{*c}} {
			printed[what+" with "+verb] = fmt.Sprintf(verb, value)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t"} {
		for what, value := range map[string]any{"pointer": c, "value": *c} {
			if got := fmt.Sprintf(verb, value); got != redacted {
				t.Errorf("%s with %s prints %q", what, verb, got)
			}
		}
	}
	printed["an error"] = fmt.Errorf("oh no: %v", c).Error()
	for what, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "xml": xml.Marshal, "yaml": func(v any) ([]byte, error) { return yaml.Marshal(v) }} {
		for _, value := range []any{c, *c} {
			text, err := marshal(value)
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			printed[fmt.Sprintf("%s of %T", what, value)] = string(text)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("issued", "credential", c, "value", *c, "held", held)
	slog.New(slog.NewTextHandler(&log, nil)).Info("issued", "credential", c, "value", *c, "held", held)
	logger := funcr.New(func(_, args string) { log.WriteString(args) }, funcr.Options{})
	logger.Info("issued", "credential", c, "value", *c, "held", held)
	logger.Error(errors.New("no"), "issued", "credential", c, "value", *c)
	printed["logs"] = log.String()
	for how, text := range printed {
		if strings.Contains(text, material) || strings.Contains(text, fmt.Sprintf("%x", material)) {
			t.Errorf("%s prints the credential", how)
		}
	}
	if log.Len() == 0 {
		t.Error("nothing was logged: the test looked at nothing")
	}
}

func TestACredentialKeepsWhatItWasMadeOf(t *testing.T) {
	made := fields()
	c, err := NewCredential(made)
	if err != nil {
		t.Fatal(err)
	}
	made.Files["aws/credentials"] = "changed"
	c.Files()["aws/credentials"] = "changed"
	c.Variables()["AWS_SECRET_ACCESS_KEY"] = "changed"
	c.Pointers()["AWS_REGION"] = "changed"
	want := fields()
	want.Files["exec/secrets"] = `["` + material + `"]`
	if !maps.Equal(c.Files(), want.Files) || !maps.Equal(c.Variables(), want.Variables) || !maps.Equal(c.Pointers(), want.Pointers) {
		t.Error("its content changed after it was made")
	}
	if c.ID() != want.ID || c.Principal() != want.Principal || !c.ExpiresAt().Equal(want.ExpiresAt) {
		t.Errorf("got %s, %s, %s", c.ID(), c.Principal(), c.ExpiresAt())
	}
}

// TestACredentialForExecHasNoVariables: they are files, of which valetkey-exec makes variables of its command.
func TestACredentialForExecHasNoVariables(t *testing.T) {
	c := mustCredential(t)
	exec := c.ForExec()
	want := map[string]string{"aws/credentials": material, "exec/secrets": `["` + material + `"]`, "exec/environment/aws_secret_access_key": material}
	if len(exec.Variables()) > 0 || !maps.Equal(exec.Files(), want) || exec.ID() != c.ID() || !maps.Equal(exec.Pointers(), c.Pointers()) {
		t.Errorf("it has %d variables and %d files", len(exec.Variables()), len(exec.Files()))
	}
	if len(c.Variables()) != 1 || len(c.Files()) != 2 {
		t.Error("the credential itself changed")
	}
	f := fields()
	f.Files = nil
	c, err := NewCredential(f)
	if err != nil || len(c.Files()) > 0 {
		t.Fatalf("a credential of variables alone has files: %v", err)
	}
	if len(c.ForExec().Files()) != 2 {
		t.Errorf("for exec it has %d files", len(c.ForExec().Files()))
	}
}

func TestACredentialThatCannotBeProjectedAsItIsIsRefused(t *testing.T) {
	tests := map[string]func(*CredentialFields){
		"no ID":                           func(f *CredentialFields) { f.ID = "" },
		"no expiry":                       func(f *CredentialFields) { f.ExpiresAt = time.Time{} },
		"no content":                      func(f *CredentialFields) { f.Files, f.Variables = nil, nil },
		"an ID with a line break":         func(f *CredentialFields) { f.ID = "a\nb" },
		"an ID beyond the status's":       func(f *CredentialFields) { f.ID = strings.Repeat("a", 257) },
		"a principal with a space":        func(f *CredentialFields) { f.Principal = "a b" },
		"a principal beyond the status's": func(f *CredentialFields) { f.Principal = strings.Repeat("a", 513) },
		"a file of Valetkey's own":        func(f *CredentialFields) { f.Files["exec/environment/path"] = material },
		"a file above the mount":          func(f *CredentialFields) { f.Files["../credentials"] = material },
		"an absolute file":                func(f *CredentialFields) { f.Files["/aws/credentials"] = material },
		"a file with a dot, whose key could be another's": func(f *CredentialFields) { f.Files["aws.credentials"] = material },
		"a file with a comma":                             func(f *CredentialFields) { f.Files["aws,credentials"] = material },
		"a file with an equals sign":                      func(f *CredentialFields) { f.Files["aws=credentials"] = material },
		"a file named like a variable":                    func(f *CredentialFields) { f.Files["AWS_X"] = material },
		"a file that ends with a slash":                   func(f *CredentialFields) { f.Files["aws/"] = material },
		"nothing that is secret":                          func(f *CredentialFields) { f.Secrets = nil },
		"a secret that stands nowhere":                    func(f *CredentialFields) { f.Secrets = []string{"another"} },
		"an empty secret":                                 func(f *CredentialFields) { f.Secrets = []string{material, ""} },
		"a variable in lower case":                        func(f *CredentialFields) { f.Variables["path"] = material },
		"a variable with a comma":                         func(f *CredentialFields) { f.Variables["A,B"] = material },
		"a variable with an equals sign":                  func(f *CredentialFields) { f.Variables["A=B"] = material },
		"a variable that holds a zero byte":               func(f *CredentialFields) { f.Variables["A"] = material + "\x00" },
		"a pointer that is also a variable":               func(f *CredentialFields) { f.Pointers["AWS_SECRET_ACCESS_KEY"] = "x" },
		"a pointer whose value holds a comma":             func(f *CredentialFields) { f.Pointers["AWS_REGION"] = "a,AWS_PROFILE=b" },
		"a pointer whose value holds a line break":        func(f *CredentialFields) { f.Pointers["AWS_REGION"] = "a\nb" },
		"an ID that is the secret":                        func(f *CredentialFields) { f.ID = material },
		"an ID that holds the secret":                     func(f *CredentialFields) { f.ID = "leases/" + material + "/1" },
		"an ID that is the most of the secret":            func(f *CredentialFields) { f.ID = material[4:] },
		"an ID that ends in half of the secret":           func(f *CredentialFields) { f.ID = "leases/" + material[:10] },
		"a principal that is the secret":                  func(f *CredentialFields) { f.Principal = material },
		"a file that is named by the secret":              func(f *CredentialFields) { f.Files["aws/"+material] = material },
		"a pointer that is the secret":                    func(f *CredentialFields) { f.Pointers["AWS_REGION"] = material },
		"a pointer that is named by a secret": func(f *CredentialFields) {
			f.Files["aws/key"], f.Secrets, f.Pointers["KEY_0123456789"] = "KEY_0123456789", append(f.Secrets, "KEY_0123456789"), "x"
		},
		"a variable that is named by a secret": func(f *CredentialFields) {
			f.Variables["KEY_0123456789"], f.Secrets = "KEY_0123456789", append(f.Secrets, "KEY_0123456789")
		},
		"a file that holds what was sent":           func(f *CredentialFields) { f.Files["aws/x"], f.Sent = "a=sent-token", []string{"sent-token"} },
		"a variable that is what was sent":          func(f *CredentialFields) { f.Variables["A"], f.Sent = "sent-token", []string{"other", "sent-token"} },
		"a pointer that is what was sent":           func(f *CredentialFields) { f.Pointers["A"], f.Sent = "sent-token", []string{"sent-token"} },
		"an ID that is what was sent":               func(f *CredentialFields) { f.ID, f.Sent = "sent-token", []string{"sent-token"} },
		"a pointer whose name holds an equals sign": func(f *CredentialFields) { f.Pointers["A=B"] = "x" },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			f := fields()
			spoil(&f)
			c, err := NewCredential(f)
			if c != nil || err == nil {
				t.Fatal("it was made")
			}
			if strings.Contains(err.Error(), material) {
				t.Error("the error tells the credential")
			}
		})
	}
}

// TestTells_MoreThanChance: what is printed is refused for what it tells, not for a word that it shares.
func TestTells_MoreThanChance(t *testing.T) {
	const user = "v-token-ag-previews-YEn53rnY6R17CTg5sFrG-1795955751"
	for _, tt := range []struct {
		name, text string
		secrets    []string
		want       bool
	}{
		{"the whole", "a/" + material, []string{material}, true},
		{"one of several", "a/" + material, []string{"another-secret", material}, true},
		{"its first half", material[:10], []string{material}, true},
		{"its last half", "x" + material[10:], []string{material}, true},
		{"its middle", material[5:15], []string{material}, true},
		{"less than half", material[:9], []string{material}, false},
		{"a short secret as a whole", "a/pass1", []string{"pass1"}, true},
		{"a part of a short secret", "a/pass", []string{"pass1"}, false},
		{"a number, which stands everywhere", "port-443", []string{"443"}, false},
		{"a role's name that is part of a user's", "previews", []string{user}, false},
		{"nothing secret", "a", nil, false},
		{"an empty secret", "a", []string{""}, false},
		{"nothing printed", "", []string{material}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Tells(tt.text, tt.secrets...); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
