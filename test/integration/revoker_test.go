// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
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
	j.capability(j.name, role)
	c := &v1alpha1.Capability{}
	j.must(j.w.admin.Get(t.Context(), client.ObjectKey{Name: j.name}, c))
	c.Spec.AWS.RevokerRoleARN = revoker
	j.must(j.w.admin.Update(t.Context(), c))
	g := j.deliverWithoutApproval()

	upload := j.uploader(g)
	if err := upload(); err != nil {
		t.Fatalf("the session does not work: %v", err)
	}
	j.must(j.w.admin.Delete(t.Context(), c))
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
