// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// iamPages is an IAM that lists the inline policies of a role in pages, and counts what it is asked for. The stand-in
// of STS in front of it answers everything else.
func iamPages(t *testing.T, page func(n int64) (names []string, marker string)) (world, *atomic.Int64) {
	t.Helper()
	w := newWorld(t)
	asked, denied := &atomic.Int64{}, inlinePolicies{policies: map[string]string{}, room: 1}
	w.sts.elsewhere = func(rw http.ResponseWriter, r *http.Request) bool {
		switch r.Form.Get("Action") {
		case "AssumeRoleWithWebIdentity":
			a := w.sts.answer(r.Form)
			a.ARN = "arn:aws:sts::123456789012:assumed-role/revoker/" + r.Form.Get("RoleSessionName")
			a.write(rw, nil)
		case "ListRolePolicies":
			names, marker := page(asked.Add(1))
			fmt.Fprintf(rw, `<ListRolePoliciesResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ListRolePoliciesResult><PolicyNames>%s</PolicyNames><IsTruncated>%t</IsTruncated>`,
				"<member>"+strings.Join(names, "</member><member>")+"</member>", marker != "")
			if marker != "" {
				fmt.Fprintf(rw, "<Marker>%s</Marker>", marker)
			}
			fmt.Fprint(rw, "</ListRolePoliciesResult></ListRolePoliciesResponse>")
		default:
			return denied.answer(rw, r.Form)
		}
		return true
	}
	return w, asked
}

// TestRevoke_AListThatDoesNotEndIsGivenUp: an IAM that always has another page holds no worker, and keeps no session
// from being denied.
func TestRevoke_AListThatDoesNotEndIsGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		page func(n int64) ([]string, string)
		most int64
	}{
		"with a new marker each time": {func(n int64) ([]string, string) { return []string{"other"}, fmt.Sprintf("m%d", n) }, 100},
		"with the same marker":        {func(int64) ([]string, string) { return []string{"other"}, "m" }, 2},
		"with two markers in turn":    {func(n int64) ([]string, string) { return []string{"other"}, fmt.Sprintf("m%d", n%2) }, 100},
	} {
		t.Run(name, func(t *testing.T) {
			w, asked := iamPages(t, test.page)
			l := w.lease()
			l.Capability.Spec.AWS.RevokerRoleARN = "arn:aws:iam::123456789012:role/revoker"
			l.Provider.Spec.AWS.IAMEndpoint = w.sts.url
			revoked, err := w.Revoke(t.Context(), l.Issued(w.Handle(l), w.clock.Now().Add(time.Hour)))
			if err != nil || revoked.Mode != v1alpha1.RevocationImmediate || !strings.Contains(revoked.Left, "list of the role's inline policies does not end") {
				t.Errorf("got %+v, %v", revoked, err)
			}
			if n := asked.Load(); n > test.most {
				t.Errorf("%d pages were asked for, want %d at the most", n, test.most)
			}
		})
	}
}
