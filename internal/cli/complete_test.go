// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestNamesAreCompletedWithThoseThatMakeSense(t *testing.T) {
	ended := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Name, r.Status.EndedAt = "old", &metav1.Time{Time: noon()} })
	elsewhere := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Namespace, r.Name = "others", "elsewhere" })
	d := at(t, aRequest(), ended, elsewhere, aCapability(), aGrant("living"), aGrant("ended", over))
	const waiting, old = "publish-pr-184\tpublish-preview-build for web-app, AwaitingApproval\n", "old\tpublish-preview-build for web-app, Ended\n"
	for command, want := range map[string]string{
		"describe": old + waiting, "why": old + waiting, "approve": waiting, "deny": waiting, "revoke": "living\tpublish-preview-build for web-app\n",
		"can --repo r --env e": "publish-preview-build\tUpload the preview build of one repository.\n",
	} {
		typed := append([]string{"__complete"}, strings.Fields(command)...)
		d.types(append(typed, "")...).exits(0).prints(want + ":4\n")
		d.types(append(typed, "one", "")...).exits(0).prints(":4\n")
	}
	d.types("__complete", "revoke", "--capability", "").exits(0).says("publish-preview-build\tUpload")
	d.dial = func(*rest.Config) (client.WithWatch, error) { return nil, errors.New("no way there") }
	d.types("__complete", "describe", "").exits(0).prints(":1\n")
}
