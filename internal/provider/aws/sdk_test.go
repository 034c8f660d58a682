// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
)

// ambient are variables that webhooks, nodes and images add to a container.
var ambient = map[string]map[string]string{
	"nothing":      nil,
	"a role":       {"AWS_ROLE_ARN": "arn:aws:iam::1:role/own", "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
	"an agent":     {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/nowhere"},
	"all of these": {"AWS_ROLE_ARN": "x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"},
}

// asks calls ask with each delivery of a credential, in a container that has each of the ambient variables.
func asks(t *testing.T, ask func(t *testing.T, c *provider.Credential, environment map[string]string)) {
	for name, set := range ambient {
		for _, delivery := range []v1alpha1.CredentialDelivery{v1alpha1.DeliveryFiles, v1alpha1.DeliveryEnv} {
			t.Run(name+" beside "+string(delivery), func(t *testing.T) {
				w := newWorld(t)
				l := w.lease()
				l.Capability.Spec.AWS.Delivery = delivery
				c, err := w.Issue(t.Context(), l)
				if err != nil {
					t.Fatal(err)
				}
				ask(t, c, inContainer(t, c, set))
			})
		}
	}
}

// inContainer is the environment of a container that has a credential.
func inContainer(t *testing.T, c *provider.Credential, ambient map[string]string) map[string]string {
	t.Helper()
	root, environment := t.TempDir(), map[string]string{"HOME": t.TempDir()}
	for path, content := range c.Files() {
		file := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range ambient {
		environment[key] = value
	}
	for key, value := range c.Pointers() {
		environment[key] = strings.Replace(value, v1alpha1.MountPath, root, 1)
	}
	for key, value := range c.Variables() {
		environment[key] = value
	}
	return environment
}

// TestCredential_IsWhatTheSDKUses in a container without valetkey-exec, whatever a webhook adds for a role of the Pod's
// ServiceAccount. What else could be set is refused of a Job. [TestCredential_IsWhatOtherClientsUse] asks SDKs for
// other languages.
func TestCredential_IsWhatTheSDKUses(t *testing.T) {
	asks(t, func(t *testing.T, c *provider.Credential, environment map[string]string) {
		for key, value := range environment {
			t.Setenv(key, value)
		}
		loaded, err := config.LoadDefaultConfig(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found, err := loaded.Credentials.Retrieve(t.Context())
		if err != nil || found.AccessKeyID != c.ID() {
			t.Errorf("the SDK uses %s of %s: %v", found.AccessKeyID, found.Source, err)
		}
	})
}
