// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/aws"
	"github.com/valetkey/valetkey/internal/provider/gcp"
	"github.com/valetkey/valetkey/internal/provider/token"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

// scoped is a back end, as far as scopes are concerned.
type scoped struct {
	backend provider.Provider
	// capability has the templates in its scope.
	capability func(templates []string) v1alpha1.CapabilitySpec
	// reached are the places of a rendered scope, in the order of the templates, with * for anything.
	reached func(t *testing.T, s provider.Scope) []string
	// begins is how each template begins, and ends how it may end.
	begins string
	ends   []string
	// pieces are what a template is made of, beside values.
	pieces []string
	// whole is set where all templates make one place together.
	whole bool
}

func backends() map[string]scoped {
	slashed := []string{"a", "b", "/", "-", ".", "a/", "/b", "_"}
	return map[string]scoped{
		"AWS": {
			backend: aws.New(aws.Options{}), begins: "arn:aws:s3:::a",
			ends:   []string{"", "/*", "*", "-*", "/a", "/a*"},
			pieces: append([]string{"*", ":"}, slashed...),
			capability: func(templates []string) v1alpha1.CapabilitySpec {
				c := &v1alpha1.AWSCapability{RoleARN: "arn:aws:iam::123456789012:role/r"}
				for i, template := range templates {
					c.Scope = append(c.Scope, v1alpha1.AWSStatement{
						Actions: []string{[]string{"s3:Get*", "s3:getObject"}[i]}, Resources: []string{template}})
				}
				return v1alpha1.CapabilitySpec{AWS: c}
			},
			reached: func(t *testing.T, s provider.Scope) (all []string) {
				var document struct{ Statement []struct{ Resource []string } }
				read(t, s.Document, &document)
				for _, statement := range document.Statement {
					all = append(all, statement.Resource...)
				}
				return all
			},
		},
		"Google Cloud": {
			backend: gcp.New(gcp.Options{}), begins: "", ends: []string{"/"}, pieces: slashed,
			capability: func(templates []string) v1alpha1.CapabilitySpec {
				c := &v1alpha1.GCPCapability{Scopes: []string{"https://www.googleapis.com/auth/cloud-platform"}}
				for _, template := range templates {
					c.Boundary = append(c.Boundary, v1alpha1.GCPBoundaryRule{
						Bucket: "bucket", Prefix: template, Roles: []string{"roles/storage.objectViewer"}})
				}
				return v1alpha1.CapabilitySpec{GCP: c}
			},
			reached: func(_ *testing.T, s provider.Scope) (all []string) {
				for _, action := range s.Actions[1:] {
					_, place, _ := strings.Cut(action, "gs://")
					all = append(all, place)
				}
				return all
			},
		},
		"Vault": {
			backend: vault.New(vault.Options{}), begins: "database/creds/",
			ends: []string{"", "a", "/a"}, pieces: slashed, whole: true,
			capability: func(templates []string) v1alpha1.CapabilitySpec {
				c := &v1alpha1.VaultCapability{Path: templates[0]}
				for i, template := range templates[1:] {
					c.Parameters = append(c.Parameters,
						v1alpha1.VaultParameter{Name: fmt.Sprintf("p%d", i), Value: template})
				}
				return v1alpha1.CapabilitySpec{Vault: c}
			},
			reached: func(_ *testing.T, s provider.Scope) []string { return []string{s.Document} },
		},
		"tokens": {
			backend: token.New(token.Options{}), begins: "", ends: []string{"", "a", ":a"},
			pieces: append([]string{":"}, slashed...),
			capability: func(templates []string) v1alpha1.CapabilitySpec {
				return v1alpha1.CapabilitySpec{Token: &v1alpha1.TokenCapability{Audience: "a", Scope: templates}}
			},
			reached: func(_ *testing.T, s provider.Scope) []string { return s.Actions },
		},
	}
}

func read(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// template makes one of a back end's.
func (s scoped) template(r *rand.Rand) string {
	text := s.begins
	for range 1 + r.IntN(5) {
		if r.IntN(2) == 0 {
			text += one(r, "${request.repo}", "${request.repo}", "${request.environment}", "${request.namespace}")
		} else {
			text += one(r, s.pieces...)
		}
	}
	return text + one(r, s.ends...)
}

func one(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// within reports whether all that one pattern matches is matched by another: what its * stands for is a character
// that no other has.
func within(inner, outer string) bool {
	switch {
	case outer == "":
		return inner == ""
	case outer[0] == '*':
		return within(inner, outer[1:]) || inner != "" && within(inner[1:], outer)
	default:
		return inner != "" && inner[0] == outer[0] && within(inner[1:], outer[1:])
	}
}

// alike reports whether two requests have the same values in all that the templates take.
func alike(a, b provider.Values, templates string) bool {
	return (a.Repo == b.Repo || !strings.Contains(templates, "${request.repo}")) &&
		(a.Environment == b.Environment || !strings.Contains(templates, "${request.environment}")) &&
		(a.Namespace == b.Namespace || !strings.Contains(templates, "${request.namespace}"))
}

func someNames(r *rand.Rand) provider.Values {
	return provider.Values{
		Repo:        one(r, "a", "b", "aa", "ab", "a.b", "a-b", "a_b", "a/a", "a/b", "a/a/b", "a.a/b", "a-/b"),
		Environment: one(r, "a", "b", "aa", "a-b", "a_b", "b-a"),
		Namespace:   one(r, "a", "b", "aa", "a-b", "b-a"),
	}
}

// TestScopes_NoneLiesWithinThatOfOtherNames has each back end render random templates for random names. Wherever one
// place lies within another, both are of the same names, as far as the places tell them apart.
func TestScopes_NoneLiesWithinThatOfOtherNames(t *testing.T) {
	for name, s := range backends() {
		t.Run(name, func(t *testing.T) {
			r, ready := rand.New(rand.NewPCG(1, 2)), 0
			for range 6_000 {
				templates := []string{s.template(r), s.template(r)}[:1+r.IntN(2)]
				c := &v1alpha1.Capability{Spec: s.capability(templates)}
				c.Spec.RepoParts = int32(r.IntN(4))
				if s.compare(t, r, c, templates) {
					ready++
				}
			}
			if ready < 100 {
				t.Errorf("only %d capabilities could be issued", ready)
			}
		})
	}
}

// compare reports whether the capability could be issued.
func (s scoped) compare(t *testing.T, r *rand.Rand, c *v1alpha1.Capability, templates []string) (ready bool) {
	t.Helper()
	var of []provider.Values
	var places [][]string
	for range 24 {
		values := someNames(r)
		if scope, err := s.backend.Render(t.Context(), c, values); err == nil {
			of, places = append(of, values), append(places, s.reached(t, scope))
		}
	}
	for a := range of {
		for b := range of {
			s.expectApart(t, templates, of[a], of[b], places[a], places[b])
		}
	}
	return len(of) > 0
}

func (s scoped) expectApart(t *testing.T, templates []string, a, b provider.Values, ofA, ofB []string) {
	t.Helper()
	for i, inner := range ofA {
		for k, outer := range ofB {
			both := templates[i] + templates[k]
			if s.whole {
				both = strings.Join(templates, "")
			}
			if within(inner, outer) && !alike(a, b, both) {
				t.Fatalf("%q: %s of %+v lies within %s of %+v", templates, inner, a, outer, b)
			}
		}
	}
}
