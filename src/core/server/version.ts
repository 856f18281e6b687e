/** Version of this program, equal to the one in package.json (a test holds that). */
export const VERSION = '0.1.0'
/** Version of the control socket's protocol; additive, a client checks the verb, not the number (hazard 40). */
export const API_VERSION = 1
