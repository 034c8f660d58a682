// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// inlinePolicies keeps the inline policies of one role, and refuses what it is told to.
type inlinePolicies struct {
	policies map[string]string
	// room is how many policies the role has room for.
	room int
	// refuses are the actions that it answers with 403, and stuck the names that it does not delete.
	refuses, stuck []string
	// twice are the actions that it answers in two ways.
	twice []string
	// asked are the actions that it was asked for.
	asked []string
	// otherRole and otherPolicy are what it says that a policy that it reads back is of and is called.
	otherRole, otherPolicy string
	// spoil changes what it answers with success.
	spoil func(action, answer string) string
}

// answer answers what IAM is asked; it does not know the rest.
func (i *inlinePolicies) answer(w http.ResponseWriter, form url.Values) bool {
	action, name := form.Get("Action"), form.Get("PolicyName")
	if !strings.HasSuffix(action, "RolePolicy") && action != "ListRolePolicies" {
		return false
	}
	i.asked = append(i.asked, action)
	_, stored := i.policies[name]
	switch {
	case slices.Contains(i.refuses, action), action == "DeleteRolePolicy" && slices.Contains(i.stuck, name):
		refuse(http.StatusForbidden, "AccessDenied")(w, nil)
		return true
	case action == "PutRolePolicy" && !stored && len(i.policies) >= i.room:
		refuse(http.StatusConflict, "LimitExceeded")(w, nil)
		return true
	case action == "PutRolePolicy":
		i.policies[name] = form.Get("PolicyDocument")
	case action == "DeleteRolePolicy":
		delete(i.policies, name)
	}
	result := map[string]string{
		"ListRolePolicies": "<PolicyNames><member>" + strings.Join(slices.Sorted(maps.Keys(i.policies)), "</member><member>") + "</member></PolicyNames><IsTruncated>false</IsTruncated>",
		"GetRolePolicy": fmt.Sprintf("<PolicyDocument>%s</PolicyDocument><RoleName>%s</RoleName><PolicyName>%s</PolicyName>",
			url.PathEscape(i.policies[name]), cmp.Or(i.otherRole, form.Get("RoleName")), cmp.Or(i.otherPolicy, name)),
	}[action]
	if result != "" {
		result = fmt.Sprintf("<%[1]sResult>%[2]s</%[1]sResult>", action, result)
	}
	if slices.Contains(i.twice, action) {
		result += fmt.Sprintf("<%[1]sResult></%[1]sResult><%[1]sResult></%[1]sResult>", action)
	}
	answer := fmt.Sprintf(`<%[1]sResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">%[2]s<ResponseMetadata><RequestId>7a62c49f-347e-4fc4-9331-6e8eEXAMPLE</RequestId></ResponseMetadata></%[1]sResponse>`, action, result)
	if i.spoil != nil {
		answer = i.spoil(action, answer)
	}
	fmt.Fprint(w, answer)
	return true
}

// over are denials of grants that ended long ago.
const (
	over1 = "valetkey-1000000000-11111111-2222-3333-4444-555555555555"
	over2 = "valetkey-1000000001-11111111-2222-3333-4444-555555555555"
)

// withIAM is a world whose role has denials that can go, and a lease of it with a revoker.
func withIAM(t *testing.T, i *inlinePolicies) (world, provider.Lease) {
	t.Helper()
	w := newWorld(t)
	i.policies = map[string]string{over1: "{}", over2: "{}"}
	w.sts.elsewhere = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Form.Get("Action") != "AssumeRoleWithWebIdentity" {
			return i.answer(rw, r.Form)
		}
		a := w.sts.answer(r.Form)
		a.ARN = "arn:aws:sts::123456789012:assumed-role/revoker/" + r.Form.Get("RoleSessionName")
		a.write(rw, nil)
		return true
	}
	l := w.lease()
	l.Capability.Spec.AWS.RevokerRoleARN = "arn:aws:iam::123456789012:role/revoker"
	l.Provider.Spec.AWS.IAMEndpoint = w.sts.url
	return w, l
}

// TestRevoke_DeniesWhateverCannotBeTidied: an old denial that cannot be taken away keeps no session working.
func TestRevoke_DeniesWhateverCannotBeTidied(t *testing.T) {
	const full, other = 2, "IAM answers with another policy than the denial, or with one of another name or role"
	for name, test := range map[string]struct {
		iam inlinePolicies
		// left is what is said to be left, and refused what the error says: with it nothing is confirmed.
		left, refused string
		// none: there is no room for a denial, and nothing in its way can go.
		none bool
	}{
		"all goes well":                   {iam: inlinePolicies{room: 10}},
		"nothing can be deleted":          {iam: inlinePolicies{room: 10, refuses: []string{"DeleteRolePolicy"}}, left: "iam:DeleteRolePolicy"},
		"one cannot be deleted":           {iam: inlinePolicies{room: 10, stuck: []string{over1}}, left: "iam:DeleteRolePolicy"},
		"nothing can be listed":           {iam: inlinePolicies{room: 10, refuses: []string{"ListRolePolicies"}}, left: "iam:ListRolePolicies"},
		"full, and room can be made":      {iam: inlinePolicies{room: full}},
		"full, and one cannot be deleted": {iam: inlinePolicies{room: full, stuck: []string{over1}}, left: "iam:DeleteRolePolicy"},
		"full, and nothing can be deleted": {iam: inlinePolicies{room: full, refuses: []string{"DeleteRolePolicy"}},
			refused: "IAM refused iam:DeleteRolePolicy to the revoker role: status 403"},
		"nothing can be stored": {iam: inlinePolicies{room: 10, refuses: []string{"PutRolePolicy"}},
			refused: "IAM refused iam:PutRolePolicy to the revoker role: status 403"},
		"nothing can be read back": {iam: inlinePolicies{room: 10, refuses: []string{"GetRolePolicy"}},
			refused: "IAM refused iam:GetRolePolicy to the revoker role: status 403"},
		"what is stored is answered in two ways": {iam: inlinePolicies{room: 10, twice: []string{"PutRolePolicy"}},
			refused: "iam:PutRolePolicy: IAM answered with success, and its answer says one thing twice: it is refused, " +
				"and nothing of it is used; see what stands between the operator and IAM"},
		"what is read back is answered in two ways": {iam: inlinePolicies{room: 10, twice: []string{"GetRolePolicy"}},
			refused: "iam:GetRolePolicy: IAM answered with success, and its answer says one thing twice: it is refused, " +
				"and nothing of it is used; see what stands between the operator and IAM"},
		"what is read back is of another role":  {iam: inlinePolicies{room: 10, otherRole: "quite-another-role"}, refused: other},
		"what is read back is of no role":       {iam: inlinePolicies{room: 10, otherRole: " "}, refused: other},
		"what is read back is called otherwise": {iam: inlinePolicies{room: 10, otherPolicy: "quite-another-policy"}, refused: other},
		"no room, ever":                         {iam: inlinePolicies{room: -1}, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, l := withIAM(t, &test.iam)
			until := w.clock.Now().Add(time.Hour)
			revoked, err := w.Revoke(t.Context(), l.Issued(w.Handle(l), until))
			if err != nil {
				expectNoSecret(t, err)
			}
			switch {
			case test.refused != "":
				if !provider.IsRetryable(err) || err.Error() != test.refused || revoked.Mode != "" {
					t.Errorf("got %+v, %v, want %s", revoked, err, test.refused)
				}
				return
			case test.none:
				if err != nil || revoked.Mode != v1alpha1.RevocationAtExpiry {
					t.Errorf("got %+v, %v", revoked, err)
				}
				return
			}
			if err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
				t.Errorf("got %+v, %v; IAM was asked for %v", revoked, err, test.iam.asked)
			}
			if (revoked.Left == "") != (test.left == "") || !strings.Contains(revoked.Left, test.left) {
				t.Errorf("it says that this is left: %q", revoked.Left)
			}
			own := fmt.Sprintf("valetkey-%d-%s", until.Add(10*time.Minute).Unix(), l.ID)
			if document := test.iam.policies[own]; !strings.Contains(document, "agent-"+l.ID+"-*") {
				t.Errorf("the denial %s is %q", own, document)
			}
		})
	}
}

// TestRevoke_DeniesAsLongAsASessionCanWork: of an answer that did not say until when it works, that is as long as STS
// gives any.
func TestRevoke_DeniesAsLongAsASessionCanWork(t *testing.T) {
	iam := inlinePolicies{room: 10}
	w, l := withIAM(t, &iam)
	issued := l.Issued(w.Handle(l), w.clock.Now().Add(time.Hour))
	issued.Unknown = true
	if revoked, err := w.Revoke(t.Context(), issued); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
		t.Fatalf("got %+v, %v", revoked, err)
	}
	for _, test := range []struct {
		after time.Duration
		want  int
	}{{12 * time.Hour, 1}, {14 * time.Hour, 0}} {
		w.clock.SetTime(issued.Until.Add(test.after - time.Hour))
		if _, err := w.Revoke(t.Context(), issued); err != nil || len(iam.policies) != test.want {
			t.Errorf("%s later the role has %d policies: %v", test.after, len(iam.policies), err)
		}
	}
}

// TestRevoke_TriesToTidyAgain: what could not be taken away is, when IAM lets it, and no revocation does harm to the
// one before.
func TestRevoke_TriesToTidyAgain(t *testing.T) {
	iam := inlinePolicies{room: 10, refuses: []string{"DeleteRolePolicy"}}
	w, l := withIAM(t, &iam)
	issued := l.Issued(w.Handle(l), w.clock.Now().Add(time.Hour))
	for range 2 {
		if revoked, err := w.Revoke(t.Context(), issued); err != nil || revoked.Mode != v1alpha1.RevocationImmediate {
			t.Fatalf("got %+v, %v", revoked, err)
		}
		iam.refuses = nil
	}
	if len(iam.policies) != 1 {
		t.Errorf("the role has %d policies", len(iam.policies))
	}
	iam.refuses = []string{"DeleteRolePolicy"}
	w.clock.SetTime(w.clock.Now().Add(2 * time.Hour))
	revoked, err := w.Revoke(t.Context(), issued)
	if err != nil || revoked.Mode != v1alpha1.RevocationAtExpiry || !strings.Contains(revoked.Left, "iam:DeleteRolePolicy") {
		t.Errorf("when the session is over: %+v, %v", revoked, err)
	}
}
