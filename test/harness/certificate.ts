/**
 * A self-signed certificate for the destination servers of tests: for dest.test, localhost and 127.0.0.1, valid for a
 * hundred years. Its key is public, so it is good for nothing else. A test that wants it trusted names it to
 * `tls.setDefaultCACertificates`.
 */
export const SELF_SIGNED = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBpjCCAUygAwIBAgIUM3vnxU4lyhwuUMsi01DeCIjL+6UwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJZGVzdC50ZXN0MCAXDTI2MTEyNDAyMTkxN1oYDzIxMjYxMDMx
MDIxOTE3WjAUMRIwEAYDVQQDDAlkZXN0LnRlc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARiEIJkWpkJO75OLAKoTOJvO/ispN5a943n4qNWIN64RTcrl6h5E82Y
sekM1DWy/b7o3bt2CmLcYN1aspu4CZcfo3oweDAdBgNVHQ4EFgQUie/m7lUTwg+W
qD3/One6u0kvpoMwHwYDVR0jBBgwFoAUie/m7lUTwg+WqD3/One6u0kvpoMwDwYD
VR0TAQH/BAUwAwEB/zAlBgNVHREEHjAcgglkZXN0LnRlc3SCCWxvY2FsaG9zdIcE
fwAAATAKBggqhkjOPQQDAgNIADBFAiEAm6s0XI8G8ZtkWsys9t0qoa4zrpo2Mzxu
dIRPukasmMICIG5qv+1r6i498lqF/2bdur/nFD7Tpj4odpVM9Xy+wdJT
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsFZweCVza6o2qc/Z
DRpLtXRHpr3t7Y766Pfv7nvkTUahRANCAARiEIJkWpkJO75OLAKoTOJvO/ispN5a
943n4qNWIN64RTcrl6h5E82YsekM1DWy/b7o3bt2CmLcYN1aspu4CZcf
-----END PRIVATE KEY-----
`,
};
