// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestTheSecretPartIsKnown(t *testing.T) {
	c := &Canary{values: map[string]bool{}}
	c.add(&corev1.Secret{Data: map[string][]byte{
		"aws.credentials":       []byte("[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret=key\naws_session_token = file-token\n"),
		"kubernetes.config":     []byte("clusters:\n- cluster:\n    server: https://api\nusers:\n- name: valetkey\n  user:\n    token: jwt-token\n"),
		"AWS_SESSION_TOKEN":     []byte("env=token"),
		"AWS_SECRET_ACCESS_KEY": []byte("env:key"),
		"AWS_ACCESS_KEY_ID":     []byte("AKIB"),
		"postgres.service":      []byte("[valetkey]\nhost=db.example.com\nuser=v-read\npassword=pass=word\n"),
		"github.token":          []byte("ghs_1_a.b"),
		"gcp.access-token":      []byte("ya29.a"),
		"gcp.credentials":       []byte(`{"type":"external_account","subject_token_type":"urn:access_token"}`),
		"github.gitconfig":      []byte("[credential]\n\tusername = x-access-token\n"),
	}})
	for _, secret := range []string{"secret=key", "file-token", "jwt-token", "env=token", "env:key", "pass=word", "ghs_1_a.b", "ya29.a"} {
		if !c.Stands("before " + secret + " after") {
			t.Errorf("%q is not known", secret)
		}
	}
	for _, public := range []string{"AKIA", "AKIB", "https://api", "valetkey", "v-read", "external_account", "x-access-token", ""} {
		if c.Stands(public) {
			t.Errorf("%q is taken for secret", public)
		}
	}
	if values, grants := c.Count(); values != 8 || grants != 1 {
		t.Errorf("%d values of %d grants", values, grants)
	}
}
