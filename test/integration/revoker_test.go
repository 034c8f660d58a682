// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/internal/audit"
)

// TestASessionWithARevokerEndsWithItsGrant has the capability and the provider gone when the grant ends: what revoking needs was
// stored before.
func TestASessionWithARevokerEndsWithItsGrant(t *testing.T) {
	j := begin(t, "aws-revoker")
	role := j.role()
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:ListRolePolicies","iam:GetRolePolicy","iam:PutRolePolicy","iam:DeleteRolePolicy"],"Resource":%q}]}`, role)
	revoker, err := j.w.cluster.AWS().EnsureRole(t.Context(), localcluster.RoleSpec{Name: j.name + "-revoker", Namespace: identities, ServiceAccount: j.name, Policy: policy})
	j.must(err)
	p := &v1alpha1.CapabilityProvider{}
	j.read("provider.yaml", p)
	p.Name, p.Spec.AWS.STSEndpoint, p.Spec.AWS.IAMEndpoint = j.name, j.w.cluster.AWS().Endpoint, j.w.cluster.AWS().Endpoint
	j.store(p)
	j.capability(j.name, role, revokedBy(revoker))
	g := j.deliverWithoutApproval()

	upload := j.uploader(g)
	if err := upload(); err != nil {
		t.Fatalf("the session does not work: %v", err)
	}
	j.must(j.w.admin.Delete(t.Context(), &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: j.name}}))
	j.must(j.w.admin.Delete(t.Context(), p))
	j.annotate(j.w.alice, j.grantObject(), v1alpha1.AnnotationRevoke, "seen-enough")
	g = await(t, j.w, j.grantObject(), "ended", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil })
	if r := g.Status.Revocation; r == nil || r.Mode != v1alpha1.RevocationImmediate || r.ConfirmedAt == nil {
		t.Errorf("the revocation is %+v", r)
	}
	if err := upload(); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("a copy of the session afterwards: %v", err)
	}
}

// TestARevocationThatIsNotConfirmedHoldsTheEndUntilSomebodyAbandonsIt has a revoker role that trusts somebody else.
func TestARevocationThatIsNotConfirmedHoldsTheEndUntilSomebodyAbandonsIt(t *testing.T) {
	j := begin(t, "aws-abandoned")
	revoker, err := j.w.cluster.AWS().EnsureRole(t.Context(), localcluster.RoleSpec{Name: j.name + "-revoker", Namespace: identities, ServiceAccount: "somebody-else"})
	j.must(err)
	j.capability("aws-preview", j.role(), revokedBy(revoker))
	j.deliverWithoutApproval()
	abandon := func(who client.Client, reason string) error {
		patch := []byte(`{"metadata":{"annotations":{"valetkey.dev/abandon":"` + reason + `"}}}`)
		return who.Patch(t.Context(), j.grantObject(), client.RawPatch(types.MergePatchType, patch))
	}
	if err := abandon(j.w.admin, "too-early"); err == nil || !strings.Contains(err.Error(), "revoke it first") {
		t.Errorf("a living grant: %v", err)
	}
	j.annotate(j.w.alice, j.grantObject(), v1alpha1.AnnotationRevoke, "seen-enough")
	g := await(t, j.w, j.grantObject(), "ending, and saying what is not confirmed", func(g *v1alpha1.CapabilityGrant) bool {
		c := condition(g.Status.Conditions, v1alpha1.ConditionEnded)
		return g.Status.EndedAt != nil || c.Reason == v1alpha1.ReasonEnding && strings.Contains(c.Message, "has not confirmed that the credential is revoked: the revoker role: STS refused")
	})
	if g.Status.EndedAt != nil || g.Status.Revocation != nil {
		t.Errorf("the grant ended with %+v, and nothing was revoked", g.Status.Revocation)
	}
	j.expectNoSecret()
	if err := abandon(j.w.alice, "let-it-go"); err == nil || !strings.Contains(err.Error(), "lacks the verb abandon") {
		t.Errorf("without the verb: %v", err)
	}
	j.must(abandon(j.w.admin, "the-account-is-closed"))
	g = await(t, j.w, j.grantObject(), "ended", func(g *v1alpha1.CapabilityGrant) bool { return g.Status.EndedAt != nil })
	if r := g.Status.Revocation; r == nil || r.Mode != v1alpha1.RevocationAtExpiry || r.ExposedUntil == nil || r.ConfirmedAt != nil {
		t.Errorf("the revocation is %+v; want it said to work until it expires", r)
	}
	records, err := j.operator.records(j.namespace, j.name)
	j.must(err)
	if !slices.ContainsFunc(records, func(r audit.Record) bool {
		return r.Event == audit.EventAbandoned && strings.HasPrefix(r.Reason, "abandoned by ") && strings.HasSuffix(r.Reason, ": the-account-is-closed")
	}) {
		t.Error("the audit log does not say who abandoned it, and why")
	}
}

func revokedBy(role string) func(*v1alpha1.Capability) {
	return func(c *v1alpha1.Capability) { c.Spec.AWS.RevokerRoleARN = role }
}

// uploader uploads with a copy of the grant's session.
func (j *journey) uploader(g *v1alpha1.CapabilityGrant) func() error {
	j.Helper()
	secret := &corev1.Secret{}
	j.must(j.w.admin.Get(j.Context(), client.ObjectKey{Namespace: j.namespace, Name: g.Status.SecretName}, secret))
	values := map[string]string{}
	for line := range strings.Lines(string(secret.Data["aws.credentials"])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		values[name] = value
	}
	s := j.w.cluster.AWS().S3As(credentials.NewStaticCredentialsProvider(values["aws_access_key_id"], values["aws_secret_access_key"], values["aws_session_token"]))
	bucket, key := "previews", "web-app/copy.html"
	return func() error {
		_, err := s.PutObject(j.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("copied")})
		return err
	}
}
