// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/ambient"
)

func delivering(files bool) *v1alpha1.Capability {
	c, delivery := newCapability(), v1alpha1.DeliveryEnv
	if files {
		delivery = v1alpha1.DeliveryFiles
	}
	c.Spec.AWS = &v1alpha1.AWSCapability{Delivery: delivery}
	return c
}

func TestCheckJob_VariablesOfAnotherCredentialAreRefused(t *testing.T) {
	set := func(names ...string) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) {
			for _, name := range names {
				c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: "x"})
			}
		}
	}
	beside := func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
		pod.Containers = append(pod.Containers, corev1.Container{Name: "side", Image: image,
			Env: []corev1.EnvVar{{Name: "AWS_ROLE_ARN", Value: "x"}}})
	}
	rows := []jobRow{
		{"keys come first", set("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
			"container publish: env AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY could make the AWS SDKs use another credential"},
		{"a container's role", set("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "AWS_CONTAINER_CREDENTIALS_FULL_URI could make the AWS SDKs"},
		{"an unknown one of AWS", set("AWS_NEW_WAY_TO_LOG_IN"), "AWS_NEW_WAY_TO_LOG_IN could make"},
		{"a region", set("AWS_REGION", "AWS_MAX_ATTEMPTS"), ""},
		{"those of another back end", set("GH_TOKEN", "KUBECONFIG", "PGPASSWORD"), ""},
		{"of a container beside the step", beside, ""},
	}
	checkJobs(t, delivering(true), append(rows, jobRow{"a role, by files", set("AWS_ROLE_ARN"), ""}))
	checkJobs(t, delivering(false), []jobRow{
		{"a role", set("AWS_ROLE_ARN"), "AWS_ROLE_ARN could make the AWS SDKs use another credential"},
		{"a profile", set("AWS_PROFILE"), "AWS_PROFILE could make the AWS SDKs use another credential"},
	})
	behind := delivering(true)
	behind.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{image}}
	for _, finding := range otherCredentials(&corev1.Container{Env: []corev1.EnvVar{{Name: "AWS_ACCESS_KEY_ID"}}}, behind) {
		t.Error("behind valetkey-exec:", finding)
	}
}

func TestReview_VariablesOfAnotherCredentialInAConfigMapAreRefused(t *testing.T) {
	for name, row := range map[string]struct {
		prefix, key string
		copied      bool
		want        string
	}{
		"keys":                 {key: "AWS_ACCESS_KEY_ID", want: "ConfigMap settings, which container publish has its variables from: AWS_ACCESS_KEY_ID could make"},
		"by a prefix":          {prefix: "AWS_", key: "ACCESS_KEY_ID", want: "from: AWS_ACCESS_KEY_ID could make"},
		"harmless by prefix":   {prefix: "MY_", key: "AWS_ACCESS_KEY_ID"},
		"a region":             {key: "AWS_REGION"},
		"changed after copies": {key: "AWS_ACCESS_KEY_ID", copied: true},
	} {
		t.Run(name, func(t *testing.T) {
			job := newJob()
			job.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{Prefix: row.prefix,
				ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
			in := reviewOf(job)
			in.Capability = delivering(true)
			in.ConfigMaps = map[string]*corev1.ConfigMap{"settings": {Data: map[string]string{row.key: "x"}}}
			if row.copied {
				in.Copied = []v1alpha1.ReviewedInput{}
			}
			_, _, err := NewReview(in)
			if row.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

// TestDelivered_IsWhatBackEndsSet reads from the source of the back ends which variables they set.
func TestDelivered_IsWhatBackEndsSet(t *testing.T) {
	var delivered []string
	for _, d := range []v1alpha1.CredentialDelivery{v1alpha1.DeliveryEnv, v1alpha1.DeliveryFiles} {
		delivered = append(delivered, Delivered(&v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{
			AWS: &v1alpha1.AWSCapability{Delivery: d}, GCP: &v1alpha1.GCPCapability{Delivery: d},
			GitHub: &v1alpha1.GitHubCapability{Delivery: d}, Token: &v1alpha1.TokenCapability{Delivery: d},
			Kubernetes: &v1alpha1.KubernetesCapability{},
			Vault:      &v1alpha1.VaultCapability{Postgres: &v1alpha1.VaultPostgres{}},
		}})...)
	}
	sources, err := filepath.Glob("../provider/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var set []string
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") || strings.Contains(source, "/fake/") {
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"([A-Z][A-Z0-9_]{5,})"`).FindAllSubmatch(text, -1) {
			set = append(set, string(m[1]))
		}
	}
	for _, c := range ambient.Variables(delivered, set) {
		t.Errorf("a back end sets %s, which Delivered does not know: it would be a conflict of %s", c.Name, c.Client)
	}
	for _, name := range delivered {
		if !slices.Contains(set, name) {
			t.Errorf("no back end sets %s", name)
		}
	}
}
