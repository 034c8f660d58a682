// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp

import (
	"encoding/json"
	"strings"
	"testing"

	"cloud.google.com/go/auth/credentials/downscope"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

func FuzzABoundaryStaysWhereItsTemplatePutsIt(f *testing.F) {
	for _, seed := range [][3]string{
		{"web-app", "preview", "agents"}, {"*", "preview", "agents"}, {"../secret", "preview", "agents"}, {"acme/web", "*", "agents"}, {"a') || ('", "b", "c"},
		{`a\`, "b", "c"}, {"${request.namespace}", "a", "b"}, {"a\"", "b", "c"}, {"a", "b", "c\n"}, {"A.b_c", "b", "c"}, {strings.Repeat("a", 100), "b", "c"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	c := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: v1alpha1.CapabilitySpec{GCP: &v1alpha1.GCPCapability{
		ServiceAccountEmail: "a@b.iam.gserviceaccount.com", Scopes: []string{"https://www.googleapis.com/auth/devstorage.read_only"},
		Boundary: []v1alpha1.GCPBoundaryRule{{Bucket: "previews-${request.environment}", Prefix: "builds/${request.repo}/${request.namespace}/", Roles: []string{"roles/storage.objectViewer"}}},
	}}}
	f.Fuzz(func(t *testing.T, repo, environment, namespace string) {
		n, err := render(c, provider.Values{Repo: repo, Environment: environment, Namespace: namespace})
		if err != nil {
			return
		}
		bucket, prefix := "previews-"+environment, "builds/"+repo+"/"+namespace+"/"
		want := []downscope.AccessBoundaryRule{{AvailableResource: "//storage.googleapis.com/projects/_/buckets/" + bucket, AvailablePermissions: []string{"inRole:roles/storage.objectViewer"},
			Condition: &downscope.AvailabilityCondition{Expression: "resource.name.startsWith('projects/_/buckets/" + bucket + "/objects/" + prefix +
				"') || api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('" + prefix + "')"}}}
		if diff := cmp.Diff(want, n.rules); diff != "" {
			t.Fatalf("another boundary than the template's (-want +got):\n%s", diff)
		}
		if strings.ContainsAny(bucket+prefix, "'\"\\\n\r$*") || strings.Contains(prefix, "..") || strings.Contains(prefix, "//") || strings.ContainsAny(bucket, "/") {
			t.Errorf("%q in %q leaves its place", prefix, bucket)
		}
		if strings.Count(n.rules[0].Condition.Expression, "'") != 8 {
			t.Errorf("the condition is another: %s", n.rules[0].Condition.Expression)
		}
		if !json.Valid([]byte(n.scope().Document)) {
			t.Error("the document is no JSON")
		}
	})
}
