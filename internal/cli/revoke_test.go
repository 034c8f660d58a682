// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// several grants of two capabilities, agents and repositories, in two namespaces.
func several() []client.Object {
	with := func(name, namespace, capability, actor, repo string) client.Object {
		return aGrant(name, func(g *v1alpha1.CapabilityGrant) {
			g.Namespace, g.UID = namespace, types.UID("uid-"+name)
			g.Spec.Capability, g.Spec.Actor, g.Spec.Repo = capability, actor, repo
		})
	}
	return []client.Object{
		with("one", "agents", "publish", "openclaw", "web-app"), with("two", "agents", "publish", "other", "web-app"), with("three", "agents", "read", "openclaw", "payments"),
		with("four", "others", "publish", "openclaw", "web-app"), aGrant("ended", over), aGrant("ending", ending),
	}
}

func TestRevokeEndsWhatFitsEveryFlagAndNothingElse(t *testing.T) {
	for flags, want := range map[string]string{
		"one": "one", "--all": "one three two", "--all -A": "one three two four", "--all --capability publish": "one two", "--all --actor openclaw": "one three",
		"--all --repo web-app": "one two", "--all --repo web-app --actor openclaw": "one", "--all --repo web-app --actor openclaw -A": "one four",
		"--all --repo Web-App": "one two", "--all --repo ACME/web-app": "one two", "--all --repo Payments": "three",
	} {
		t.Run(flags, func(t *testing.T) {
			s := &sent{}
			said := intercepted(t, s.funcs(), several()...).types(append([]string{"revoke", "--yes", "--reason", "enough"}, strings.Fields(flags)...)...).exits(0)
			var expected []string
			for name := range strings.FieldsSeq(want) {
				namespace := map[bool]string{true: "others", false: "agents"}[name == "four"]
				expected = append(expected, namespace+"/"+name+` {"metadata":{"annotations":{"valetkey.dev/revoke":"enough"},"uid":"uid-`+name+`"}}`)
				said.says(namespace + "/" + name + ": revoked by ")
			}
			s.expect(t, expected...)
		})
	}
}

func TestRevokeListsAndCountsBeforeItAsks(t *testing.T) {
	s := &sent{}
	said := intercepted(t, s.funcs(), several()...).terminal("n\n").types("revoke", "--all", "--actor", "openclaw", "--reason", "leak").exits(1).
		complains(`Revoke 2 grants at once, for "leak"? [y/N] `, "not confirmed: nothing was sent", "note: an actor is the agent's own word; one that calls itself otherwise is not listed")
	said.prints(`
NAME    CAPABILITY   REPO       ENVIRONMENT   STATE       LEFT   PROVIDER   AGE
one     publish      web-app    preview       Delivered   12m    aws-sts    3m
three   read         payments   preview       Delivered   12m    aws-sts    3m
`)
	s.expect(t)
	intercepted(t, s.funcs(), several()...).types("revoke", "--all").exits(1).complains("standard input is no terminal")
	s.expect(t)
}

// TestRevokeGoesOnAfterARefusal, and says which grants live on.
func TestRevokeGoesOnAfterARefusal(t *testing.T) {
	s := &sent{}
	funcs := s.funcs()
	patch := funcs.Patch
	funcs.Patch = func(ctx context.Context, c client.WithWatch, object client.Object, p client.Patch, o ...client.PatchOption) error {
		if object.GetName() == "three" {
			return forbidden("ValidatingAdmissionPolicy 'valetkey-grants' with binding 'valetkey-grants' denied request: bob lacks the verb revoke on this grant")
		}
		return patch(ctx, c, object, p, o...)
	}
	intercepted(t, funcs, several()...).types("revoke", "--all", "--yes").exits(1).says("agents/one: revoked", "agents/two: revoked").
		complains("agents/three: not revoked: ", "the API server's rule valetkey-grants refuses it: bob lacks the verb revoke on this grant", "error: 1 of 3 grants not revoked: agents/three")
	if len(s.patches) != 2 {
		t.Errorf("%d were sent", len(s.patches))
	}
}

func TestRevokeSaysWhyThereIsNothingToRevoke(t *testing.T) {
	at(t, several()...).types("revoke", "ended", "--yes").exits(1).complains("there is nothing to revoke: grant ended in namespace agents has ended, Revoked, 2026-11-25T11:59:00Z (60s ago); "+
		"revocation AtExpiry, a copy of the credential works until 2026-11-25T12:12:00Z (in 12m)", "error: ")
	at(t, several()...).types("revoke", "--all", "--capability", "publsh", "--yes").exits(1).complains("there is nothing to revoke: no living grant fits")
	at(t, several()...).types("revoke", "ending", "--yes").exits(0).complains("grant ending in namespace agents is being ended already: revoked by alice@example.com: enough")
}

func TestRevokeRefusesWhatCouldMeanMoreThanWasMeant(t *testing.T) {
	for flags, want := range map[string]string{
		"": "say which: NAME, or --all", "one two": "say which", "one --all": "either NAME or --all", "--capability publish": "--capability, --actor, --repo and -A go with --all",
		"one --repo web-app": "go with --all", "one -A": "go with --all", "one --reason=": "an empty reason revokes nothing",
	} {
		s := &sent{}
		intercepted(t, s.funcs(), several()...).types(append([]string{"revoke", "--yes"}, strings.Fields(flags)...)...).exits(1).complains(want)
		s.expect(t)
	}
}

func TestRevokeThatCannotListSaysWhichRoleLists(t *testing.T) {
	nothing := interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return forbidden(`User "bob" cannot list resource "capabilitygrants" in API group "valetkey.dev" at the cluster scope`)
	}}
	intercepted(t, nothing).types("revoke", "--all", "-A", "--yes").exits(1).complains("error: listing grants: ", "next: have the ClusterRole valetkey-viewer bound: kubectl create clusterrolebinding NAME --clusterrole=valetkey-viewer --user=bob")
}
