/** The panda. */
export function Mark({ size }: { size: number }) {
  return <img className="mark" src="/icons/panda.svg" width={size} height={size} alt="" />;
}
