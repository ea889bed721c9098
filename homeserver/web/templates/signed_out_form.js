"use strict";
// spec: SAML 2.0 bindings, section 3.5.4
document.querySelector("form").submit();
