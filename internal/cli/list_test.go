// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestRequestsListsWhatHasNotEnded(t *testing.T) {
	ended := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Name, r.Status.EndedAt = "old", &metav1.Time{Time: noon()} })
	elsewhere := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Namespace = "others" })
	d := at(t, aRequest(), ended, elsewhere)
	d.types("requests").exits(0).prints(`
NAME             CAPABILITY              REPO      ENVIRONMENT   STATE              APPROVALS   LEFT   REQUESTER                                  AGE
publish-pr-184   publish-preview-build   web-app   preview       AwaitingApproval   0 of 1      56m    system:serviceaccount:agents:web-app-bot   5m
`)
	d.types("requests", "-A", "--all").exits(0).says("\nagents      old ", "\nothers      publish-pr-184 ")
	d.types("requests", "-o", "wide").exits(0).says("SAYS TASK   SAYS ACTOR       MESSAGE\n", "pr-184      openclaw-agent   policy preview-builds waits")
	at(t).types("requests").exits(0).complains("no requests that have not ended; --all shows those that have")
}

func TestGrantsListsWhatLivesAndTheTimeThatIsLeft(t *testing.T) {
	d := at(t, aGrant("living"), aGrant("ended", over))
	d.types("grants").exits(0).prints(`
NAME     CAPABILITY              REPO      ENVIRONMENT   STATE       LEFT   PROVIDER   AGE
living   publish-preview-build   web-app   preview       Delivered   12m    aws-sts    3m
`)
	d.types("grants", "--all", "-o", "wide").exits(0).says("SAYS TASK   SAYS ACTOR       LEASE", "\nended    publish-preview-build   web-app   preview       Revoked ")
}

func TestAListThatIsRefusedSaysWhatWasAsked(t *testing.T) {
	nothing := interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return forbidden(`User "bob" cannot list resource "capabilityrequests" in API group "valetkey.dev" in the namespace "agents"`)
	}}
	intercepted(t, nothing).types("requests").exits(1).complains("error: listing requests: ", "next: have the ClusterRole valetkey-viewer bound in namespace agents")
	intercepted(t, nothing).types("grants").exits(1).complains("error: listing grants: ")
}
