import { defineConfig, type Plugin } from 'vite';

// What is drawn before the script has run would be drawn in the wrong colours for
// whoever has chosen others than the system's.
const blocking: Plugin = {
  name: 'blocking',
  transformIndexHtml: {
    order: 'post',
    handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
  },
};

export default defineConfig({
  base: '/dashboard/',
  plugins: [blocking],
  build: {
    outDir: '../internal/dashboard/dist',
    emptyOutDir: true,
    target: 'es2022',
    // The policy allows no style or script inside the page, and a file of its own for
    // the icon costs nothing.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: {
    // `npx vite` beside a service on the usual port: its admin API under the same address.
    proxy: { '/admin': 'http://127.0.0.1:8006' },
  },
});
