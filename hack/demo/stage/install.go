// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/valetkey/valetkey/hack/localcluster"
)

// auditUser is the user and group that the operator runs as.
const auditUser = 65532

// install applies config/default with what is this cluster's own: the endpoints, and a volume for the audit log.
func (s *Stage) install(ctx context.Context, args []string) error {
	a := s.Cluster.AWS()
	args = append(args, s.backEndArgs()...)
	args = append([]string{"--aws-endpoint=" + a.InClusterSTS, "--aws-endpoint=" + a.InClusterS3, "--kubernetes-server=" + localcluster.ServiceURL}, args...)
	volume := s.AuditDir()
	if err := os.MkdirAll(volume, 0o750); err != nil {
		return err
	}
	if err := os.Chown(volume, auditUser, auditUser); err != nil {
		return err
	}
	files := map[string]string{"volume.yaml": fmt.Sprintf(volumeManifest, volume, localcluster.NodeName)}
	lines := []string{"resources:", "- volume.yaml", "- " + s.rel("operator", "config/default"), "patches:",
		"- target: {kind: Deployment, name: valetkey}", "  patch: |-"}
	for _, arg := range args {
		lines = append(lines, "    - {op: add, path: /spec/template/spec/containers/0/args/-, value: "+fmt.Sprintf("%q", arg)+"}")
	}
	lines = append(lines, s.signersPatch(files)...)
	files["kustomization.yaml"] = strings.Join(lines, "\n") + "\n"
	overlay, err := s.overlay("operator", files)
	if err != nil {
		return err
	}
	// The kinds come first: the API server has to know them before it takes rules about them.
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", filepath.Join(s.root, "config", "crd")); err != nil {
		return err
	}
	if _, err := s.Kubectl(ctx, Admin, "wait", "--for=condition=Established", "crd", "-l", "!none", "--timeout=60s"); err != nil {
		return err
	}
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", overlay); err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, Admin, "-n", "valetkey-system", "rollout", "status", "deployment/valetkey", "--timeout="+settled.String())
	return err
}

// AuditDir is where the audit log's volume is on this machine.
func (s *Stage) AuditDir() string { return filepath.Join(s.dir, "audit") }

const volumeManifest = `apiVersion: v1
kind: PersistentVolume
metadata: {name: valetkey-audit}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: valetkey-system, name: valetkey-audit}
  local: {path: %s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}
`

// catalogue applies config/samples with this cluster's endpoints and image.
func (s *Stage) catalogue(ctx context.Context) error {
	a := s.Cluster.AWS()
	name, digest, _ := strings.Cut(s.Workload, "@")
	overlay, err := s.overlay("catalogue", map[string]string{
		"images.yaml": imageFields,
		"kustomization.yaml": fmt.Sprintf(catalogueOverlay, s.rel("catalogue", "config/samples"),
			sampleImage, strings.TrimSuffix(name, ":dev"), digest, a.InClusterSTS, a.InClusterS3, s.roleARN),
	})
	if err != nil {
		return err
	}
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", overlay); err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, Admin, "wait", "--for=condition=Ready", "capprov,cap,cappol", "--all", "--timeout=60s")
	return err
}

// Revoker gives the sample capability a role that denies its sessions, as docs/backends/aws.md advises.
func (s *Stage) Revoker(ctx context.Context) error {
	a := s.Cluster.AWS()
	arn, err := a.EnsureRole(ctx, localcluster.RoleSpec{Name: "preview-revoker", Namespace: "valetkey-identities", ServiceAccount: sampleCapability,
		Policy: fmt.Sprintf(revokerPolicy, s.roleARN)})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"patch", "capprov", "aws-preview", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"aws":{"iamEndpoint":%q}}}`, a.InClusterSTS)},
		{"patch", "cap", sampleCapability, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"aws":{"revokerRoleARN":%q}}}`, arn)},
	} {
		if _, err := s.Kubectl(ctx, Admin, args...); err != nil {
			return err
		}
	}
	return nil
}

const revokerPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:ListRolePolicies","iam:GetRolePolicy","iam:PutRolePolicy","iam:DeleteRolePolicy"],"Resource":%q}]}`

// Kubernetes applies config/samples/kubernetes with this cluster's address, for there is no name service.
func (s *Stage) Kubernetes(ctx context.Context) error {
	overlay, err := s.overlay("kubernetes", map[string]string{"kustomization.yaml": fmt.Sprintf(kubernetesOverlay, s.rel("kubernetes", "config/samples/kubernetes"), localcluster.ServiceURL)})
	if err != nil {
		return err
	}
	return s.applySample(ctx, overlay, "capprov/this-cluster", "cap/read-settings", "cappol/read-settings")
}

const kubernetesOverlay = `resources:
- %s
patches:
- target: {kind: CapabilityProvider, name: this-cluster}
  patch: |-
    - {op: replace, path: /spec/kubernetes/server, value: %q}
`

// applySample applies a folder, and returns when what it makes is Ready.
func (s *Stage) applySample(ctx context.Context, folder string, ready ...string) error {
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", folder); err != nil {
		return err
	}
	_, err := s.Kubectl(ctx, Admin, append([]string{"wait", "--for=condition=Ready", "--timeout=60s"}, ready...)...)
	return err
}

// Enrol makes another namespace that agents can work in, as config/samples makes the first.
func (s *Stage) Enrol(ctx context.Context, namespace string) error {
	folder, err := s.overlay("enrol-"+namespace, map[string]string{"kustomization.yaml": fmt.Sprintf(enrolOverlay, namespace)})
	if err != nil {
		return err
	}
	for _, file := range []string{"namespace.yaml", "people.yaml"} {
		content, err := os.ReadFile(filepath.Join(s.root, "config", "samples", file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o600); err != nil {
			return err
		}
	}
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", folder); err != nil {
		return err
	}
	// One agent works in both namespaces.
	_, err = s.Kubectl(ctx, Admin, "-n", namespace, "create", "rolebinding", "agent", "--clusterrole=valetkey-requester",
		"--serviceaccount="+strings.TrimPrefix(Agent.Name, "system:serviceaccount:"))
	return err
}

const enrolOverlay = `namespace: %[1]s
resources: [namespace.yaml, people.yaml]
patches:
- target: {kind: Namespace}
  options: {allowNameChange: true}
  patch: |-
    - {op: replace, path: /metadata/name, value: %[1]s}
`

// imageFields tells kustomize where, beside Pods, images are named.
const imageFields = `images:
- {kind: Capability, path: spec/runner/image}
`

const catalogueOverlay = `resources:
- %s
configurations:
- images.yaml
images:
- {name: %s, newName: %s, digest: "%s"}
patches:
- target: {kind: CapabilityProvider, name: aws-preview}
  patch: |-
    - {op: add, path: /spec/aws/stsEndpoint, value: %q}
    - {op: add, path: /spec/aws/serviceEndpoint, value: %q}
- target: {kind: Capability, name: publish-preview-build}
  patch: |-
    - {op: replace, path: /spec/aws/roleARN, value: %q}
`

func (s *Stage) overlay(name string, files map[string]string) (string, error) {
	folder := filepath.Join(s.dir, name)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return "", err
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return folder, nil
}

// rel is the way from an overlay's folder to a folder of the repository: kustomize takes no other.
func (s *Stage) rel(overlay, folder string) string {
	path, err := filepath.Rel(filepath.Join(s.dir, overlay), filepath.Join(s.root, folder))
	if err != nil {
		return filepath.Join(s.root, folder)
	}
	return path
}
