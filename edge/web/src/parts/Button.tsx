/** Buttons: one that is meant, quieter ones, and those that are a sign alone and have their name for who hears it. */

import type { ComponentProps } from "react";
import { Icon, type IconName } from "./Icon";

type ButtonProps = ComponentProps<"button"> & { look?: "main" | "quiet" | "danger" };

export function Button({ look = "quiet", className = "", type = "button", ...rest }: ButtonProps) {
  return <button {...rest} type={type} className={`button button-${look} ${className}`} />;
}

export function IconButton({ icon, label, className = "", type = "button", ...rest }: ComponentProps<"button"> & { icon: IconName; label: string }) {
  return (
    <button {...rest} type={type} className={`icon-button ${className}`} aria-label={label} title={label}>
      <Icon name={icon} />
    </button>
  );
}
